package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// Compression is one way to compress responses.
type Compression struct {
	// Type is Gzip, Brotli or Zstd.
	//
	// +required
	Type CompressorType `json:"type"`

	// Brotli has settings of type Brotli. There are none yet.
	//
	// +optional
	Brotli *BrotliCompressor `json:"brotli,omitempty"`

	// Gzip has settings of type Gzip. There are none yet.
	//
	// +optional
	Gzip *GzipCompressor `json:"gzip,omitempty"`

	// Zstd has settings of type Zstd. There are none yet.
	//
	// +optional
	Zstd *ZstdCompressor `json:"zstd,omitempty"`

	// MinContentLength is how many bytes a response must have to be compressed. Default: 30, which is the least.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$"
	MinContentLength *resource.Quantity `json:"minContentLength,omitempty"`
}

// CompressorType is an algorithm.
//
// +kubebuilder:validation:Enum=Gzip;Brotli;Zstd
type CompressorType string

// The algorithms.
const (
	GzipCompressorType   CompressorType = "Gzip"
	BrotliCompressorType CompressorType = "Brotli"
	ZstdCompressorType   CompressorType = "Zstd"
)

// BrotliCompressor has settings of Brotli.
type BrotliCompressor struct{}

// GzipCompressor has settings of gzip.
type GzipCompressor struct{}

// ZstdCompressor has settings of Zstandard.
type ZstdCompressor struct{}
