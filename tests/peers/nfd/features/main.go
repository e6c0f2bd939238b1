// Prints what NFD itself finds on a host, as one JSON document: the raw features in the shape of nfd-worker's NodeFeature
// objects, and the labels that nfd-worker makes of them under its default configuration. With -time N it discovers N times
// and prints how many nanoseconds each time took.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"

	nfdv1alpha1 "sigs.k8s.io/node-feature-discovery/api/nfd/v1alpha1"
	worker "sigs.k8s.io/node-feature-discovery/pkg/nfd-worker"
	"sigs.k8s.io/node-feature-discovery/source"

	// The sources register themselves, as in nfd-worker.
	_ "sigs.k8s.io/node-feature-discovery/source/cpu"
	_ "sigs.k8s.io/node-feature-discovery/source/custom"
	_ "sigs.k8s.io/node-feature-discovery/source/kernel"
	_ "sigs.k8s.io/node-feature-discovery/source/local"
	_ "sigs.k8s.io/node-feature-discovery/source/memory"
	_ "sigs.k8s.io/node-feature-discovery/source/network"
	_ "sigs.k8s.io/node-feature-discovery/source/pci"
	_ "sigs.k8s.io/node-feature-discovery/source/storage"
	_ "sigs.k8s.io/node-feature-discovery/source/system"
	_ "sigs.k8s.io/node-feature-discovery/source/usb"
)

type output struct {
	Features *nfdv1alpha1.Features `json:"features"`
	Labels   map[string]string     `json:"labels"`
}

// isOff tells whether nfd-worker leaves out a source unless it is asked for, as it does with the one for tests.
func isOff(s source.Source) bool {
	supplemental, ok := s.(source.SupplementalSource)
	return ok && supplemental.DisableByDefault()
}

// discover lets every source look at the host.
func discover() {
	for _, s := range source.GetAllFeatureSources() {
		if isOff(s) {
			continue
		}
		if err := s.Discover(); err != nil {
			klog.ErrorS(err, "feature discovery failed", "source", s.Name())
		}
	}
}

func timed(n int) []int64 {
	took := make([]int64, n)
	for i := range took {
		start := time.Now()
		discover()
		took[i] = time.Since(start).Nanoseconds()
	}
	return took
}

func main() {
	n := flag.Int("time", 0, "discover so often, and print the nanoseconds of each time")
	flag.Parse()
	klog.SetOutput(os.Stderr)
	labels := map[string]string{}

	// The configuration that nfd-worker starts with.
	for _, s := range source.GetAllConfigurableSources() {
		s.SetConfig(s.NewConfig())
	}
	if *n > 0 {
		if err := json.NewEncoder(os.Stdout).Encode(timed(*n)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	discover()
	sources := source.GetAllLabelSources()
	names := []string{}
	for name := range sources {
		if !isOff(sources[name]) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return sources[a].Priority() - sources[b].Priority() })
	for _, name := range names {
		found, err := worker.GetFeatureLabels(sources[name], *regexp.MustCompile(""))
		if err != nil {
			klog.ErrorS(err, "labels failed", "source", name)
			continue
		}
		for label, value := range found {
			// nfd-master puts what has no namespace into NFD's own.
			if !strings.Contains(label, "/") {
				label = nfdv1alpha1.FeatureLabelNs + "/" + label
			}
			labels[label] = value
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(output{source.GetAllFeatures(), labels}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
