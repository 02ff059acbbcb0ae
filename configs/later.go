package configs

// laterKeys are the keys that the configuration will have but that this version
// cannot honour. They are refused by name, so that nobody takes a setting for
// active that is not. A kind or field that exists is never looked up here.
func laterKeys(place keyPlace) []string {
	if place == placeBus {
		return []string{"archive"}
	}
	return nil
}

// keyPlace says which settings a key stands in, where that matters.
type keyPlace int

const (
	placeOther keyPlace = iota
	placeBus
)

// notYet is the error text for such a key.
func notYet(what string) string {
	return quote(what) + " is not available in this version of Switchyard"
}
