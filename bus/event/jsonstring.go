package event

// AppendJSONString appends s as a JSON string, quotes included.
func AppendJSONString(dst []byte, s string) []byte { return appendQuoted(dst, s) }
