package translator

import "gatehouse/policies/feature"

// maxShare is the sum of the weights of a cluster's localities if zones have weights. Envoy adds them up in 32 bits.
const maxShare = 1 << 30

// zoneShares returns a function that divides the weight of a backend between the zones of its endpoints. If zones have
// weights and the cluster has several backends, the shares of a backend add up to the weight of the backend, multiplied
// by the same number for all backends. The shares of a zone with weight 0 are 0.
func (c *clusterUse) zoneShares(set *feature.Endpoints) func(weight uint32, zones []string) map[string]uint32 {
	if set.ZoneWeights == nil {
		return func(weight uint32, zones []string) map[string]uint32 {
			shares := map[string]uint32{}
			for _, zone := range zones {
				shares[zone] = max(weight, 1)
			}
			return shares
		}
	}
	total := uint64(c.Lost)
	for _, b := range c.Backends {
		total += uint64(max(b.Weight, 1))
	}
	return func(weight uint32, zones []string) map[string]uint32 {
		shares, sum := map[string]uint32{}, uint64(0)
		of := func(zone string) uint64 {
			if w, ok := set.ZoneWeights[zone]; ok {
				return uint64(w)
			}
			return 1
		}
		for _, zone := range zones {
			sum += of(zone)
		}
		whole := maxShare / total * uint64(max(weight, 1))
		if !c.several() && sum <= maxShare {
			whole = sum // The shares are the weights.
		}
		for _, zone := range zones {
			if of(zone) > 0 {
				shares[zone] = max(uint32(whole*of(zone)/sum), 1)
			}
		}
		return shares
	}
}
