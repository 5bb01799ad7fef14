// Package k8s is the one provider that Consul names itself.
package k8s

import (
	"errors"
	"log"
)

type Provider struct{}

func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("built without clouds")
}

func (*Provider) Help() string { return "" }
