// Events of a bus, or of all, newest first: a search that is kept in the
// address, and what arrives live.
import { h, fill, link, problem, empty, code, heading, button } from '../dom.js';
import { get, all, address, path, parse } from '../api.js';
import { time, state, to, many, count } from '../words.js';

const pageSize = 50;
const rowsMost = 1000; // rows that one page shows
const liveMost = 200;
const statuses = ['', 'queued', 'inflight', 'retrying', 'delivered', 'dead', 'expired'];

const mainFields = [['type', 'Type', 'com.example.*'], ['when', 'Condition (CEL)', 'event.data.total > 100', 'wide']];
const moreFields = [
  ['source', 'Source', '/shop'], ['subject', 'Subject', 'eu/*'], ['id', 'Id', ''],
  ['from', 'From', 'time or sequence'], ['to', 'To', 'time or sequence'], ['rule', 'Rule', ''], ['target', 'Target', ''],
];
const columns = ['Recorded', 'Sequence', 'Type', 'Subject', 'Source', 'Id'];

export default async function events({ main, params: [bus], query, signal }) {
  const buses = (await all('v1/buses', {}, signal)).items.map((b) => b.name);
  if (bus && !buses.includes(bus)) buses.push(bus); // one of Switchyard's own, or gone
  const known = [...mainFields, ...moreFields].map(([name]) => name).concat('status');
  const filter = Object.fromEntries(known.map((name) => [name, query.get(name) ?? '']));
  const given = known.filter((name) => filter[name]);

  const search = () => go(form, select.value, known);
  const select = h('select', { onchange: search }, h('option', { value: '' }, 'all buses'), buses.map((b) => h('option', { value: b, selected: b === bus }, b)));
  const status = h('select', { name: 'status', onchange: search }, statuses.map((s) => h('option', { value: s, selected: s === filter.status }, s || 'any')));
  const field = ([name, label, placeholder, look]) => h('label', { class: look }, label,
    h('input', { name, value: filter[name], placeholder, autocomplete: 'off', spellcheck: 'false' }));
  const form = h('form', { class: 'panel', onsubmit: (e) => { e.preventDefault(); search(); } },
    h('div', { class: 'fields' }, h('label', {}, 'Bus', select), h('label', {}, 'Delivery', status), mainFields.map(field)),
    h('details', { open: moreFields.some(([name]) => filter[name]) }, h('summary', {}, 'More filters'), h('div', { class: 'fields' }, moreFields.map(field))),
    h('div', { class: 'actions' }, h('button', { class: 'primary' }, 'Search'), given.length > 0 && link(to.events(bus), 'Clear the filters'),
      h('span', { class: 'note' }, 'A value that ends in * is a prefix.')));

  const never = ['status', 'rule', 'target', 'from', 'to'].some((n) => filter[n]);
  const live = h('input', { type: 'checkbox', id: 'live', disabled: !bus || never });
  const liveNote = h('span', { class: 'note', role: 'status' }, !bus ? 'Choose a bus to see events live.' : never && 'Live goes with neither a time nor deliveries.');
  const body = h('tbody');
  const list = h('div', { class: 'panel scroll', hidden: true }, h('table', { class: 'cards' },
    h('thead', {}, h('tr', {}, columns.map((c) => h('th', { scope: 'col', class: c === 'Sequence' && 'num' }, c)))), body));
  const below = h('div');
  main.append(heading(bus ? `Events of ${bus}` : 'Events', 'Newest first.', liveNote, h('label', { class: 'check' }, live, 'Live')), form, list, below);
  if (buses.length === 0) {
    fill(below, empty('There is no bus yet.', link('#/buses', 'How to define one')));
    return;
  }

  let found = 0;
  const more = async (after) => {
    fill(below, h('p', { class: 'loading', role: 'status' }, 'Searching…'));
    try {
      const page = await get('v1/events/search', { ...filter, bus, limit: pageSize, after }, signal);
      found += page.items.length;
      body.append(...page.items.map((it) => row(it.bus, it.sequence, it.recordedtime, it.event, it.deliveries, !bus)));
      list.hidden = found === 0;
      if (found === 0 && !page.next) {
        fill(below, given.length > 0 ? empty('No event fits.', link(to.events(bus), 'Clear the filters'))
          : empty('Nothing has been published here yet, or it is no longer kept. Publish an event:', code(curl(bus ?? buses[0]))));
        return;
      }
      fill(below, h('p', { class: 'note' }, `${many(found, 'event')} shown; ${count(page.scanned)} read and ${count(page.skipped)} passed over for this page`,
        page.complete ? '.' : ', when the time of one request was over.'),
      found >= rowsMost ? h('p', { class: 'note' }, `A page shows no more; set “To” to ${body.lastElementChild.dataset.recorded} to go on from there.`)
        : page.next && button(page.complete ? 'Older events' : 'Search on', () => more(page.next)));
    } catch (err) {
      if (err.name !== 'AbortError') fill(below, problem(err, () => more(after)));
    }
  };
  live.onchange = () => (live.checked ? watch() : stop());
  let stream = null;
  const stop = () => { stream?.close(); stream = null; liveNote.textContent = ''; };
  signal.addEventListener('abort', () => stream?.close());
  const watch = () => {
    stream = new EventSource(address(path('buses', bus, 'tail'), { when: liveFilter(filter) }));
    liveNote.textContent = 'Connecting…';
    stream.onopen = () => { liveNote.textContent = 'New events appear on top.'; };
    stream.onerror = () => { liveNote.textContent = stream?.readyState === EventSource.CLOSED ? 'The server ended it; switch it on again.' : 'Connecting again…'; };
    stream.onmessage = (m) => {
      const ev = parse(m.data);
      const tr = row(bus, Number(m.lastEventId), ev.recordedtime, ev, null, false);
      tr.classList.add('new');
      if ([...body.children].slice(0, liveMost).some((have) => have.dataset.key === tr.dataset.key)) return;
      body.prepend(tr);
      while (body.children.length > liveMost) body.lastElementChild.remove();
      list.hidden = false;
      fill(below, h('p', { class: 'note' }, `Live: at most the last ${liveMost} events are shown. Reload the page to go back further.`));
    };
  };
  await more('');
}

// go puts what a form asks for into the address, which shows it.
function go(form, bus, known) {
  const asked = {};
  for (const name of known) {
    const value = form.elements[name].value.trim();
    if (value) asked[name] = value;
  }
  const next = to.events(bus, Object.keys(asked).length > 0 ? asked : null);
  if (location.hash === next) window.dispatchEvent(new HashChangeEvent('hashchange'));
  else location.hash = next;
}

// liveFilter is a filter of attributes as CEL, for the tail takes nothing else.
function liveFilter(filter) {
  const parts = filter.when ? [`(${filter.when})`] : [];
  for (const name of ['id', 'type', 'source', 'subject']) {
    const value = filter[name];
    if (value.endsWith('*')) parts.push(`event.${name}.startsWith(${JSON.stringify(value.slice(0, -1))})`);
    else if (value) parts.push(`event.${name} == ${JSON.stringify(value)}`);
  }
  return parts.join(' && ');
}

// row shows one event.
function row(bus, seq, recorded, ev, deliveries, withBus) {
  const key = `${bus}-${seq}`;
  return h('tr', { 'data-key': key, 'data-recorded': recorded },
    h('td', { 'data-label': 'Recorded' }, time(recorded, true)),
    h('td', { class: 'num', 'data-label': 'Sequence' }, link(to.event(bus, seq), withBus ? `${bus} #${seq}` : `#${seq}`)),
    h('td', { 'data-label': 'Type' }, h('div', {}, link(to.event(bus, seq), ev.type),
      deliveries?.map((d) => h('div', { class: 'note' }, `${d.rule} → ${d.target} `, state(d.status),
        d.attempts > 0 && ` ${many(d.attempts, 'attempt')}`, d.lastError && `: ${d.lastError}`)))),
    h('td', { 'data-label': 'Subject' }, ev.subject ?? ''),
    h('td', { 'data-label': 'Source' }, ev.source), h('td', { class: 'mono', 'data-label': 'Id' }, ev.id));
}

// curl is a command that publishes an event.
export function curl(bus) {
  return `curl -i ${address(path('buses', bus, 'events'))} \\
  -H 'Content-Type: application/cloudevents+json' \\
  -d '{"specversion": "1.0", "id": "1", "source": "/hello", "type": "com.example.hello", "data": {"text": "hello"}}'`;
}
