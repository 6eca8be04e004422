package loadbalancer

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Envoy's limits for the size of the Maglev table, which must also be a prime number.
const (
	minTableSize = 2
	maxTableSize = 5000011
)

func check(spec *v1alpha1.ClusterSettings) []verdict.Problem {
	lb := spec.LoadBalancer
	if lb == nil {
		return nil
	}
	problems := feature.CheckChoice("loadBalancer.type", lb.Type, balancers)
	if lb.SlowStart != nil {
		problems = append(problems, feature.CheckDuration("loadBalancer.slowStart.window", &lb.SlowStart.Window)...)
	}
	problems = append(problems, checkUtilization("loadBalancer.backendUtilization", lb)...)
	problems = append(problems, checkOverride("loadBalancer.endpointOverride", lb.EndpointOverride)...)
	problems = append(problems, checkZones("loadBalancer.zoneAware", lb)...)
	problems = append(problems, checkModule("loadBalancer.dynamicModule", lb)...)
	if hashes(lb) {
		problems = append(problems, checkHash("loadBalancer.consistentHash", lb.ConsistentHash)...)
	}
	return problems
}

func checkHash(field string, hash *v1alpha1.ConsistentHash) []verdict.Problem {
	if hash == nil {
		return []verdict.Problem{feature.Invalid(field,
			"type is ConsistentHash, so consistentHash must say what is hashed: add it")}
	}
	if unknown := feature.CheckChoice(field+".type", hash.Type, parts); len(unknown) > 0 {
		return unknown
	}
	return append(parts[hash.Type](field, hash), checkTableSize(field+".tableSize", tableSize(hash))...)
}

// parts has, for each type, the check of the part that it names.
var parts = map[v1alpha1.ConsistentHashType]func(field string, hash *v1alpha1.ConsistentHash) []verdict.Problem{
	v1alpha1.SourceIPConsistentHashType: func(string, *v1alpha1.ConsistentHash) []verdict.Problem { return nil },
	v1alpha1.HeaderConsistentHashType: func(field string, hash *v1alpha1.ConsistentHash) []verdict.Problem {
		return checkHeader(field+".header", hash.Header)
	},
	v1alpha1.HeadersConsistentHashType: func(field string, hash *v1alpha1.ConsistentHash) []verdict.Problem {
		return checkEach(field+".headers", hash.Headers, checkHeader)
	},
	v1alpha1.CookieConsistentHashType: func(field string, hash *v1alpha1.ConsistentHash) []verdict.Problem {
		return checkCookie(field+".cookie", hash.Cookie)
	},
	v1alpha1.QueryParamsConsistentHashType: func(field string, hash *v1alpha1.ConsistentHash) []verdict.Problem {
		return checkEach(field+".queryParams", hash.QueryParams, checkQuery)
	},
}

// checkEach checks every item of a list, which must have at least one.
func checkEach[T any](field string, items []T, checkItem func(string, T) []verdict.Problem) []verdict.Problem {
	if len(items) == 0 {
		return []verdict.Problem{feature.Invalid(field,
			"the list is empty, so there is nothing to hash: add an item or choose another type")}
	}
	var problems []verdict.Problem
	for i, item := range items {
		problems = append(problems, checkItem(fmt.Sprintf("%s[%d]", field, i), item)...)
	}
	return problems
}

func checkHeader(field string, header *v1alpha1.Header) []verdict.Problem {
	if header == nil {
		return []verdict.Problem{feature.Invalid(field, "the header is missing: add its name")}
	}
	// Envoy can hash pseudo-headers such as :path as well.
	return feature.CheckHeaderName(field+".name", strings.TrimPrefix(header.Name, ":"))
}

func checkQuery(field string, parameter *v1alpha1.QueryParam) []verdict.Problem {
	if parameter == nil || parameter.Name == "" {
		return []verdict.Problem{feature.Invalid(field+".name", "the name is empty: write the name of a query parameter")}
	}
	return nil
}

func checkCookie(field string, cookie *v1alpha1.Cookie) []verdict.Problem {
	if cookie == nil {
		return []verdict.Problem{feature.Invalid(field, "type is Cookie, so cookie must be set: add its name")}
	}
	problems := feature.CheckToken(field+".name", cookie.Name, "name of a cookie")
	problems = append(problems, feature.CheckDuration(field+".ttl", cookie.TTL)...)
	for _, name := range slices.Sorted(maps.Keys(cookie.Attributes)) {
		value := cookie.Attributes[name]
		problems = append(problems, feature.CheckToken(field+".attributes", name, "name of a cookie's attribute")...)
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' || r == ';' }) {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s.attributes[%s]", field, name),
				"%q cannot stand in a cookie: write visible ASCII characters without a semicolon", value))
		}
	}
	return problems
}

func checkTableSize(field string, size uint64) []verdict.Problem {
	if size < minTableSize || size > maxTableSize {
		return []verdict.Problem{feature.Invalid(field, "%d is out of range: write a prime number from %d to %d",
			size, minTableSize, maxTableSize)}
	}
	if prime(size) {
		return nil
	}
	next := size + 1
	for !prime(next) {
		next++
	}
	return []verdict.Problem{feature.Invalid(field, "%d is not a prime number: write one, such as %d", size, next)}
}

// prime is exact for every size that is in range.
func prime(n uint64) bool { return new(big.Int).SetUint64(n).ProbablyPrime(0) }
