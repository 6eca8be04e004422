// Package audit judges what is stored by the AdmissionRules, with the code that admission judges requests with. It runs
// on the leader, and tells of the results in the statuses of the rules, in metrics, and in reports of the kinds that
// reporters share.
//
// It is incremental: an object is judged again when it changes, when its rule, its Namespace, the parameters of its rule
// or an exception changes, or when the tables say that what belongs to it of the effective configuration may have
// changed. Decision 081 has the reasons.
package audit
