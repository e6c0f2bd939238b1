// Answers with NFD's own validator: each line of the input is {"spec": "<YAML>", "features": {…}}, each line of the output
// {"status": […]}, {"error": "…"} or {"panic": "…"}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	compat "sigs.k8s.io/node-feature-discovery/api/image-compatibility/v1alpha1"
	nfd "sigs.k8s.io/node-feature-discovery/api/nfd/v1alpha1"
	validator "sigs.k8s.io/node-feature-discovery/pkg/client-nfd/compat/node-validator"
	"sigs.k8s.io/node-feature-discovery/source"
)

type question struct {
	Spec     string       `json:"spec"`
	Features nfd.Features `json:"features"`
}

type answer struct {
	Status []*validator.CompatibilityStatus `json:"status"`
	Error  string                           `json:"error,omitempty"`
	Panic  string                           `json:"panic,omitempty"`
}

// One domain of the features of the question: registered beside NFD's own sources, which discover nothing here.
type domain struct{ name string }

var current *nfd.Features

func (d domain) Name() string    { return d.name }
func (d domain) Discover() error { return nil }
func (d domain) GetFeatures() *nfd.Features {
	features := nfd.NewFeatures()
	if current == nil {
		return features
	}
	for name, set := range current.Flags {
		if feature, ok := strings.CutPrefix(name, d.name+"."); ok {
			features.Flags[feature] = set
		}
	}
	for name, set := range current.Attributes {
		if feature, ok := strings.CutPrefix(name, d.name+"."); ok {
			features.Attributes[feature] = set
		}
	}
	for name, set := range current.Instances {
		if feature, ok := strings.CutPrefix(name, d.name+"."); ok {
			features.Instances[feature] = set
		}
	}
	return features
}

// The artifact of the question, read as NFD's client reads it.
type client struct{ text string }

func (c client) FetchCompatibilitySpec(context.Context) (*compat.Spec, error) {
	spec := compat.Spec{}
	if err := yaml.Unmarshal([]byte(c.text), &spec); err != nil {
		return nil, err
	}
	return &spec, nil
}

func ask(q *question) (a answer) {
	defer func() {
		if why := recover(); why != nil {
			a = answer{Panic: fmt.Sprint(why)}
		}
	}()
	current = q.Features.DeepCopy()
	v := validator.New(validator.WithArgs(&validator.Args{}), validator.WithArtifactClient(client{q.Spec}), validator.WithSources(nil))
	status, err := v.Execute(context.Background())
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Status: status}
}

func main() {
	flags := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(flags)
	_ = flags.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"})
	klog.SetOutput(io.Discard)
	for _, name := range []string{"one", "two"} {
		source.Register(domain{name})
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		q := question{}
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := out.Encode(ask(&q)); err != nil {
			os.Exit(1)
		}
	}
}
