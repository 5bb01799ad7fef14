// CoreDNS with only the plugins that the test ground's Corefile names; CoreDNS's own program links some fifty.
// The order in which they run comes from CoreDNS itself (dnsserver.Directives), not from here.
package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"

	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
