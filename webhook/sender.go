package webhook

import (
	"bytes"
	"encoding/json"
	"strings"
)

// anybody is the user of a request that does not begin like one of the API server.
const anybody = "?"

// userIn is the user in the text of a review, for whom its room and its turns are counted; the service accounts of a
// namespace count as one, because whoever may create one may create many. It reads the text only up to the object: the
// API server writes the user before it.
func userIn(review []byte) string {
	text := json.NewDecoder(bytes.NewReader(review))
	var name string
	if !enter(text, "request") || !enter(text, "userInfo") || !enter(text, "username") || text.Decode(&name) != nil ||
		name == "" {
		return anybody
	}
	return owner(name)
}

// enter reads up to the begin of an object and in it up to the value of a field. It skips only small values.
func enter(text *json.Decoder, field string) bool {
	if begin, err := text.Token(); err != nil || begin != json.Delim('{') {
		return false
	}
	for text.More() {
		key, err := text.Token()
		if err != nil || key == "object" || key == "oldObject" {
			return false
		}
		if key == field {
			return true
		}
		var skipped json.RawMessage
		if text.Decode(&skipped) != nil {
			return false
		}
	}
	return false
}

// owner is a user, or the namespace of a service account.
func owner(user string) string {
	const accounts = "system:serviceaccount:"
	if account, ok := strings.CutPrefix(user, accounts); ok {
		namespace, _, _ := strings.Cut(account, ":")
		return accounts + namespace
	}
	return user
}
