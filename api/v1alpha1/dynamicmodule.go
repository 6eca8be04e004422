package v1alpha1

import apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

// DynamicModule is a shared library that Envoys load. Only modules in this list can be used by policies.
type DynamicModule struct {
	// Name is what policies call the module.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name"`

	// Source is where Envoys have the module from.
	//
	// +required
	Source DynamicModuleSource `json:"source"`

	// DoNotClose keeps the module loaded when nothing uses it any more. Default: false.
	//
	// +optional
	// +kubebuilder:default=false
	DoNotClose *bool `json:"doNotClose,omitempty"`

	// LoadGlobally lets libraries that are loaded later use the symbols of the module. Default: false.
	//
	// +optional
	// +kubebuilder:default=false
	LoadGlobally *bool `json:"loadGlobally,omitempty"`
}

// DynamicModuleSourceType is where a module comes from.
//
// +kubebuilder:validation:Enum=Local
type DynamicModuleSourceType string

// LocalDynamicModuleSource is a file in Envoy's container.
const LocalDynamicModuleSource DynamicModuleSourceType = "Local"

// DynamicModuleSource is where Envoys have a module from.
//
// +union
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Local' ? has(self.local) : !has(self.local)",fieldPath=".local",message="type is Local, so local must say which file it is"
type DynamicModuleSource struct {
	// Type is Local: a file in Envoy's container. Default: Local.
	//
	// +optional
	// +unionDiscriminator
	// +kubebuilder:default=Local
	Type DynamicModuleSourceType `json:"type,omitempty"`

	// Local is the file when type is Local.
	//
	// +optional
	Local *LocalDynamicModule `json:"local,omitempty"`
}

// LocalDynamicModule is a module in a file of Envoy's container.
type LocalDynamicModule struct {
	// Path is the file, such as /modules/libshop.so. A volume of the pod or an image of Envoy has it.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path"`
}

// DynamicModuleLBPolicy is load balancing by a module.
type DynamicModuleLBPolicy struct {
	// Name is that of a module among dynamicModules of the EnvoyProxy.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name"`

	// LBPolicyName tells the module which of its algorithms is used.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	LBPolicyName string `json:"lbPolicyName"`

	// Config is what the module gets as its configuration, as JSON.
	//
	// +optional
	Config *apiextensionsv1.JSON `json:"config,omitempty"`
}
