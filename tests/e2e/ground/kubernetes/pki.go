package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority is a certificate authority of the cluster and where its files and those it signs go.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// runPKI writes every key, certificate and kubeconfig of a one-node cluster into -dir (ECDSA P-256, valid for a year);
// which ones Kubernetes needs is from kubernetes.io/docs/setup/best-practices/certificates. It keeps what is there when
// it finished before (a stamp is written last), so that a node can stop and start with its data.
func runPKI() {
	flags := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := flags.String("dir", "", "folder to write to")
	nodeIP := flags.String("node-ip", "", "address of the node and of its API server")
	serviceIP := flags.String("service-ip", "", "ClusterIP of the service `kubernetes`")
	node := flags.String("node-name", "", "name of the node")
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if *dir == "" || *nodeIP == "" || *serviceIP == "" || *node == "" {
		log.Fatal("pki: -dir, -node-ip, -service-ip and -node-name are all needed")
	}
	stamp := filepath.Join(*dir, "complete")
	if _, err := os.Stat(stamp); err == nil {
		return
	}
	check(os.MkdirAll(*dir, 0o700))

	localhost, nodeAddress := net.ParseIP("127.0.0.1"), net.ParseIP(*nodeIP)
	ca := newAuthority(*dir, "ca", "kubernetes-ca")
	ca.issueServer("apiserver", "kube-apiserver", "",
		[]string{"localhost", *node, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		[]net.IP{localhost, nodeAddress, net.ParseIP(*serviceIP)})
	ca.issueServer("kubelet-server", "system:node:"+*node, "system:nodes", []string{"localhost", *node}, []net.IP{localhost, nodeAddress})
	ca.issueClient("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
	newAuthority(*dir, "front-proxy-ca", "front-proxy-ca").issueClient("front-proxy-client", "front-proxy-client", "")

	for _, user := range []struct{ file, name, group string }{
		{"admin", "kubernetes-admin", "system:masters"},
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
		{"kubelet", "system:node:" + *node, "system:nodes"},
		{"coredns", "system:coredns", ""},
		{"local-volumes", "system:local-volumes", ""},
	} {
		ca.writeKubeconfig(user.file, user.name, user.group, "https://"+net.JoinHostPort(*nodeIP, "6443"))
	}

	tokens := newKey()
	writePEM(filepath.Join(*dir, "service-accounts.key"), "EC PRIVATE KEY", ok(x509.MarshalECPrivateKey(tokens)), 0o600)
	writePEM(filepath.Join(*dir, "service-accounts.pub"), "PUBLIC KEY", ok(x509.MarshalPKIXPublicKey(tokens.Public())), 0o644)
	check(os.WriteFile(stamp, nil, 0o600))
}

// newAuthority makes a self-signed authority and writes <file>.crt and <file>.key.
func newAuthority(dir, file, name string) authority {
	template := newTemplate(name, "")
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	self := authority{dir: dir, cert: template, key: newKey()}
	der := self.sign(file, template, self.key)
	self.cert = ok(x509.ParseCertificate(der))
	return self
}

func (a authority) issueServer(file, name, group string, hosts []string, addresses []net.IP) {
	template := newTemplate(name, group)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = hosts, addresses
	a.sign(file, template, newKey())
}

// issueClient makes a certificate that says who its bearer is: the common name is the user, the organization the group.
func (a authority) issueClient(file, user, group string) {
	template := newTemplate(user, group)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	a.sign(file, template, newKey())
}

// sign writes <file>.crt and <file>.key and gives the certificate (DER).
func (a authority) sign(file string, template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	der := ok(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))
	writePEM(filepath.Join(a.dir, file+".crt"), "CERTIFICATE", der, 0o644)
	writePEM(filepath.Join(a.dir, file+".key"), "EC PRIVATE KEY", ok(x509.MarshalECPrivateKey(key)), 0o600)
	return der
}

func (a authority) writeKubeconfig(file, user, group, server string) {
	a.issueClient(file, user, group)
	data := func(name string) string {
		return base64.StdEncoding.EncodeToString(ok(os.ReadFile(filepath.Join(a.dir, name))))
	}
	check(os.WriteFile(filepath.Join(a.dir, file+".kubeconfig"), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: ground, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: %q, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: ground, context: {cluster: ground, user: %q}}]
current-context: ground
`, server, data("ca.crt"), user, data(file+".crt"), data(file+".key"), user), 0o600))
}

func newTemplate(name, group string) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber:          ok(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour), // a clock that is set back a little must not lock everyone out
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if group != "" {
		t.Subject.Organization = []string{group}
	}
	return t
}

func newKey() *ecdsa.PrivateKey { return ok(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func writePEM(file, kind string, der []byte, mode os.FileMode) {
	check(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode))
}

// check ends the program on an error: these are one-shot commands whose caller sees the message.
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ok[T any](value T, err error) T {
	check(err)
	return value
}
