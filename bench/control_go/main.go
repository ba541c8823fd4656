// SPDX-License-Identifier: MIT

// control LISTEN KEY ADDRESS ENDPOINT - a control server for one tailscaled
//
// tailscaled takes its peers from a control server only. This one is the server of
// Tailscale's own tests, kept in memory. It tells the first node that registers of one
// peer, which speaks WireGuard and nothing of Tailscale: its public key in base64, its
// address inside, and its endpoint. The node's public key in base64 and its address
// inside are printed on one line.
package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"go4.org/mem"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// peerOf returns the peer that the node is told of.
func peerOf(node *tailcfg.Node, text, address, endpoint string) *tailcfg.Node {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != 32 {
		log.Fatalf("not a key: %s", text)
	}
	inside := []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(address), 32)}
	return &tailcfg.Node{
		ID:                node.ID + 1,
		StableID:          "far",
		Name:              "far.",
		User:              node.User,
		Key:               key.NodePublicFromRaw32(mem.B(raw)),
		MachineAuthorized: true,
		Hostinfo:          (&tailcfg.Hostinfo{Hostname: "far"}).View(),
		Addresses:         inside,
		AllowedIPs:        inside,
		Endpoints:         []netip.AddrPort{netip.MustParseAddrPort(endpoint)},
		IsWireGuardOnly:   true,
	}
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: control LISTEN KEY ADDRESS ENDPOINT")
	}
	log.SetOutput(io.Discard)
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server := &testcontrol.Server{
		ExplicitBaseURL: "http://" + os.Args[1],
		DERPMap:         &tailcfg.DERPMap{},
	}
	go http.Serve(listener, server)
	for len(server.AllNodes()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	node := server.AllNodes()[0]
	server.UpdateNode(peerOf(node, os.Args[2], os.Args[3], os.Args[4]))
	raw, _ := hex.DecodeString(strings.TrimPrefix(node.Key.String(), "nodekey:"))
	fmt.Println(base64.StdEncoding.EncodeToString(raw), node.Addresses[0].Addr())
	select {}
}
