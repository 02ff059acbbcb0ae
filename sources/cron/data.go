package cron

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// dataOf is the data of the settings as JSON, nil when there is none.
func dataOf(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	plain, err := jsonValue(v, "data", 0)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	if err := event.CheckJSON(text); err != nil {
		return nil, err
	}
	return text, nil
}

// jsonValue makes what YAML can say into what JSON can.
func jsonValue(v any, path string, depth int) (any, error) {
	if depth > event.MaxDepth {
		return nil, fmt.Errorf("%s is nested too deeply", path)
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, member := range v {
			plain, err := jsonValue(member, path+"."+key, depth+1)
			if err != nil {
				return nil, err
			}
			out[key] = plain
		}
		return out, nil
	case map[any]any:
		out := make(map[string]any, len(v))
		for key, member := range v {
			name, ok := keyText(key)
			if !ok {
				return nil, fmt.Errorf("%s has the key %v, which is not text", path, key)
			}
			if _, twice := out[name]; twice {
				return nil, fmt.Errorf("%s has the key %q twice", path, name)
			}
			plain, err := jsonValue(member, path+"."+name, depth+1)
			if err != nil {
				return nil, err
			}
			out[name] = plain
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			plain, err := jsonValue(element, path+"."+strconv.Itoa(i), depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = plain
		}
		return out, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s is %v, which JSON does not have", path, v)
		}
		return v, nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	}
	return v, nil
}

// keyText is the text of a key that YAML took for something else, such as the
// number of a year.
func keyText(key any) (string, bool) {
	switch key := key.(type) {
	case string:
		return key, true
	case int, int64, uint64, bool:
		return fmt.Sprint(key), true
	}
	return "", false
}
