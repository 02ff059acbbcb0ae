package bus

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// instanceSize is how many bytes tell one installation's delivery ids from
// another's.
const instanceSize = 6

// deliveryPrefix begins every delivery id.
const deliveryPrefix = "dlv_"

var errDeliveryID = errors.New("not a delivery id of this installation")

// deliveryEncoding is lower-case base32 without padding: no dot, as Standard
// Webhooks asks, and safe in URLs and headers.
var deliveryEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// DeliveryID is the public text of a delivery's id: the same for every attempt
// and repeat, unique among installations, without a dot.
func (e *Engine) DeliveryID(id store.DeliveryID) string {
	var raw [instanceSize + 4*binary.MaxVarintLen64]byte
	n := copy(raw[:], e.instance[:])
	n += binary.PutUvarint(raw[n:], uint64(id.Subscription))
	n += binary.PutUvarint(raw[n:], uint64(id.Bus))
	n += binary.PutUvarint(raw[n:], id.Sequence)
	n += binary.PutUvarint(raw[n:], uint64(id.Run))
	var text [len(deliveryPrefix) + (len(raw)*8+4)/5]byte
	m := copy(text[:], deliveryPrefix)
	deliveryEncoding.Encode(text[m:], raw[:n])
	return string(text[:m+deliveryEncoding.EncodedLen(n)])
}

// ParseDeliveryID is the inverse of DeliveryID.
func (e *Engine) ParseDeliveryID(text string) (store.DeliveryID, error) {
	body, ok := strings.CutPrefix(text, deliveryPrefix)
	if !ok || len(body) > 100 {
		return store.DeliveryID{}, errDeliveryID
	}
	raw, err := deliveryEncoding.DecodeString(body)
	if err != nil || len(raw) < instanceSize || string(raw[:instanceSize]) != string(e.instance[:]) {
		return store.DeliveryID{}, errDeliveryID
	}
	raw = raw[instanceSize:]
	var v [4]uint64
	for i := range v {
		x, n := binary.Uvarint(raw)
		if n <= 0 {
			return store.DeliveryID{}, errDeliveryID
		}
		v[i], raw = x, raw[n:]
	}
	const max32 = 1<<32 - 1
	if len(raw) != 0 || v[0] > max32 || v[1] > max32 || v[3] > max32 {
		return store.DeliveryID{}, errDeliveryID
	}
	id := store.DeliveryID{
		Subscription: store.SubscriptionID(v[0]), Bus: store.BusID(v[1]), Sequence: v[2], Run: uint32(v[3]),
	}
	if e.DeliveryID(id) != text { // one id has one text
		return store.DeliveryID{}, errDeliveryID
	}
	return id, nil
}
