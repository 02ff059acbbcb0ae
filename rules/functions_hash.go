package rules

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/fnv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// hashFunctions hash strings and bytes: to hexadecimal text for fingerprints and
// signatures, to whole numbers for sampling and for spreading over shards.
func hashFunctions() []cel.EnvOption {
	out := []cel.EnvOption{
		bytesCall("hash.crc32", cel.IntType, func(b []byte) ref.Val { return types.Int(crc32.ChecksumIEEE(b)) }),
		bytesCall("hash.fnv32", cel.IntType, func(b []byte) ref.Val {
			h := fnv.New32a()
			h.Write(b)
			return types.Int(h.Sum32())
		}),
		textPair("uuid.v5", uuidV5),
	}
	for name, algorithm := range map[string]func() hash.Hash{"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New} {
		out = append(out, bytesCall("hash."+name, cel.StringType, func(b []byte) ref.Val {
			h := algorithm()
			h.Write(b)
			return types.String(hex.EncodeToString(h.Sum(nil)))
		}))
	}
	for name, algorithm := range map[string]func() hash.Hash{"hash.hmacSha1": sha1.New, "hash.hmacSha256": sha256.New, "hash.hmacSha512": sha512.New} {
		call := cel.BinaryBinding(func(key, v ref.Val) ref.Val {
			h := hmac.New(algorithm, raw(key))
			h.Write(raw(v))
			return types.String(hex.EncodeToString(h.Sum(nil)))
		})
		var overloads []cel.FunctionOpt
		for _, key := range []*cel.Type{cel.StringType, cel.BytesType} {
			for _, of := range []*cel.Type{cel.StringType, cel.BytesType} {
				overloads = append(overloads, cel.Overload(overload(name, key.TypeName(), of.TypeName()), []*cel.Type{key, of}, cel.StringType, call))
			}
		}
		out = append(out, cel.Function(name, overloads...))
	}
	return out
}

// textPair declares name(string, string) → string.
func textPair(name string, f func(a, b string) (string, error)) cel.EnvOption {
	return cel.Function(name, cel.Overload(overload(name, "string", "string"), []*cel.Type{cel.StringType, cel.StringType}, cel.StringType,
		cel.BinaryBinding(func(a, b ref.Val) ref.Val { return textResult(name)(f(text(a), text(b))) })))
}

// uuidV5 is the UUID of a name in a namespace (RFC 9562, version 5): the same
// for the same name.
func uuidV5(namespace, name string) (string, error) {
	switch namespace { // RFC 9562, section 6.6
	case "dns":
		namespace = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	case "url":
		namespace = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
	case "oid":
		namespace = "6ba7b812-9dad-11d1-80b4-00c04fd430c8"
	case "x500":
		namespace = "6ba7b814-9dad-11d1-80b4-00c04fd430c8"
	}
	space, err := uuidBytes(namespace)
	if err != nil {
		return "", fmt.Errorf("the namespace %q is neither dns, url, oid, x500 nor a UUID", shorten(namespace))
	}
	h := sha1.New()
	h.Write(space)
	h.Write([]byte(name))
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), nil
}

func uuidBytes(s string) ([]byte, error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return nil, errors.New("not a UUID")
	}
	return hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
}
