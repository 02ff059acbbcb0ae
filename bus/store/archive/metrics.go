package archive

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics shows archives to Prometheus.
type metrics struct {
	s                                                        *Store
	last, lag, bytes, segments, uploaded, failures, ok, when *prometheus.Desc
	reads                                                    *prometheus.Desc

	mu       sync.Mutex
	badReads map[string]float64
}

func newMetrics(s *Store) *metrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("switchyard_archive_"+name, help, []string{"bus"}, nil)
	}
	return &metrics{
		s: s, badReads: map[string]float64{},
		last:     desc("last_sequence", "Highest sequence in the archive."),
		lag:      desc("lag_events", "Routed events that are not archived yet."),
		bytes:    desc("bytes", "Size of the archive's objects."),
		segments: desc("segments", "Objects of the archive."),
		uploaded: desc("uploaded_bytes_total", "Bytes written to the archive since start."),
		failures: desc("failures_total", "Passes of the archiver that failed."),
		ok:       desc("healthy", "1 while the archiver's last pass ended well."),
		when:     desc("last_success_timestamp_seconds", "When a pass of the archiver last ended well."),
		reads:    desc("read_failures_total", "Reads of the archive that failed."),
	}
}

func (m *metrics) readFailed(bus string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.badReads[bus]++
}

// Describe implements prometheus.Collector.
func (s *Store) Describe(ch chan<- *prometheus.Desc) {
	m := s.metrics
	for _, d := range []*prometheus.Desc{m.last, m.lag, m.bytes, m.segments, m.uploaded, m.failures, m.ok, m.when, m.reads} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	m := s.metrics
	for _, a := range s.all() {
		st := a.status()
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, st.Bus)
		}
		counter := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, st.Bus)
		}
		healthy := 1.0
		if st.Failing != nil {
			healthy = 0
		}
		gauge(m.last, float64(st.Last))
		gauge(m.lag, float64(st.Lag))
		gauge(m.bytes, float64(st.Bytes))
		gauge(m.segments, float64(st.Segments))
		counter(m.uploaded, float64(st.Uploaded))
		counter(m.failures, float64(st.Failures))
		gauge(m.ok, healthy)
		if !st.LastSuccess.IsZero() {
			gauge(m.when, float64(st.LastSuccess.UnixNano())/1e9)
		}
		m.mu.Lock()
		bad := m.badReads[st.Bus]
		m.mu.Unlock()
		counter(m.reads, bad)
	}
}
