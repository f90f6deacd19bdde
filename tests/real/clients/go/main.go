// Calls a Hanse service with the generated client of DnsService: what it prints is for the test to compare.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	dnsv1 "hanse.dev/api/dns/v1"
)

func main() {
	address, ca, cert, key := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		log.Fatal(err)
	}
	authority, err := os.ReadFile(ca)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		log.Fatalf("no certificate in %s", ca)
	}
	transport := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots})
	channel, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		log.Fatal(err)
	}
	defer channel.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client := dnsv1.NewDnsServiceClient(channel)

	listed, err := client.ListRecordSets(ctx, &dnsv1.ListRecordSetsRequest{
		Parent: "zones/example.org",
		Filter: `scope = GLOBAL AND service.name = "web"`,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, record := range listed.RecordSets {
		fmt.Println(record.Name, record.Scope, record.Endpoints[0].Address)
	}
	_, err = client.GetZone(ctx, &dnsv1.GetZoneRequest{Name: "zones/example.com"})
	refused := status.Convert(err)
	info := refused.Details()[0].(*errdetails.ErrorInfo)
	fmt.Println(refused.Code(), info.Reason, info.Metadata["name"])
}
