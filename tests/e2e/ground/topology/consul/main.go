// Consul's server and its clients for keys, with their own command lines: what tests use of it. See ../build.sh for what is left out.
package main

import (
	"io"
	"log"
	"os"

	"github.com/hashicorp/consul/command/agent"
	"github.com/hashicorp/consul/command/cli"
	"github.com/hashicorp/consul/command/kv/del"
	"github.com/hashicorp/consul/command/kv/get"
	"github.com/hashicorp/consul/command/kv/put"
	mcli "github.com/mitchellh/cli"
)

func main() {
	log.SetOutput(io.Discard)
	ui := &cli.BasicUI{BasicUi: mcli.BasicUi{Writer: os.Stdout, ErrorWriter: os.Stderr}}
	program := &mcli.CLI{
		Name: "consul",
		Args: os.Args[1:],
		Commands: map[string]mcli.CommandFactory{
			"agent":     func() (mcli.Command, error) { return agent.New(ui), nil },
			"kv delete": func() (mcli.Command, error) { return del.New(ui), nil },
			"kv get":    func() (mcli.Command, error) { return get.New(ui), nil },
			"kv put":    func() (mcli.Command, error) { return put.New(ui), nil },
		},
		HelpWriter:  os.Stdout,
		ErrorWriter: os.Stderr,
	}
	status, err := program.Run()
	if err != nil {
		log.SetOutput(os.Stderr)
		log.Fatal(err)
	}
	os.Exit(status)
}
