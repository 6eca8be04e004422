package volume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/tests/cluster/node/field"
)

func (p *projection) downward(items []corev1.DownwardAPIVolumeFile) error {
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = field.Value(p.pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = field.Resource(p.pod, "", item.ResourceFieldRef)
		}
		if err != nil {
			return fmt.Errorf("file %q: %w", item.Path, err)
		}
		p.add(item.Path, []byte(value), item.Mode)
	}
	return nil
}
