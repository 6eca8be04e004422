// Package admissionrule compiles and evaluates AdmissionRules: rules that the people of a platform write in CEL, in
// addition to the built-in rules of package rules.
//
// The environment, the libraries and the cost limits are those of ValidatingAdmissionPolicies in the API server.
// Admission and the review of files evaluate rules with this package, so that they report the same. Everything here is
// a function of its inputs: who calls it reads parameters, namespaces and the clock.
package admissionrule
