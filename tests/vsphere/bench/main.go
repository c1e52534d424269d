// A vCenter for tests: govmomi's simulator with real disks, snapshots that keep their content, and changed blocks.
//
// Reads one JSON object from stdin (type setup), answers with one line of JSON when it listens, and ends with its stdin.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/vmware/govmomi/simulator"
)

// setup is what the test wants.
type setup struct {
	Datastores map[string]string   `json:"datastores"` // name -> folder
	Pods       map[string][]string `json:"pods"`       // datastore clusters: name -> datastores
	Clusters   int                 `json:"clusters"`
	Hosts      int                 `json:"hosts"` // in each cluster
	User       string              `json:"user"`
	Password   string              `json:"password"`
	Machines   []machineSetup      `json:"machines"`
}

type machineSetup struct {
	Name      string  `json:"name"`
	Datastore string  `json:"datastore"`
	Disks     []int64 `json:"disks"` // bytes
	Host      int     `json:"host"`  // counted through all clusters
	On        bool    `json:"on"`
}

// ready is what the test has to know.
type ready struct {
	URL         string            `json:"url"`
	Control     string            `json:"control"`
	SHA1        string            `json:"sha1"`
	SHA256      string            `json:"sha256"`
	Certificate string            `json:"certificate"` // PEM
	Machines    map[string]string `json:"machines"`    // name -> moref
}

func main() {
	log.SetOutput(os.Stderr)
	decoder := json.NewDecoder(os.Stdin)
	var wanted setup
	check(decoder.Decode(&wanted))

	model := simulator.VPX()
	model.Datacenter, model.Cluster, model.ClusterHost, model.Host = 1, wanted.Clusters, wanted.Hosts, 0
	model.Machine, model.Datastore, model.Portgroup, model.Pool, model.App, model.Pod = 0, 0, 0, 0, 0, 0
	check(model.Create())
	defer model.Remove()
	disable()
	collect()

	certificate, pem := newCertificate()
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(wanted.User, wanted.Password)}
	server := model.Service.NewServer()
	gate := newGate(server.Config.Handler)
	server.Config.Handler = gate

	machines := populate(server.URL, &wanted)
	gate.forget()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { _ = http.Serve(listener, control(gate)) }()

	one, two := sha1.Sum(certificate.Certificate[0]), sha256.Sum256(certificate.Certificate[0])
	check(json.NewEncoder(os.Stdout).Encode(ready{
		URL:         server.URL.Scheme + "://" + server.URL.Host + server.URL.Path,
		Control:     "http://" + listener.Addr().String(),
		SHA1:        hex.EncodeToString(one[:]),
		SHA256:      hex.EncodeToString(two[:]),
		Certificate: pem,
		Machines:    machines,
	}))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// newCertificate returns a self-signed certificate for 127.0.0.1, also as PEM.
func newCertificate() (tls.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "bench"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.ParseIP("127.0.0.1")},
		DNSNames:              []string{"localhost"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, encodePEM(der)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
