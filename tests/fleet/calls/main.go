// SPDX-License-Identifier: MIT

// The calls of wgctrl-go that two programs make, which themselves cannot run here:
// wg-portal, which has a data base and a web page around them, and kilo, which needs
// Kubernetes.
//
// usage: calls list | portal NAME | kilo NAME
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func fail(format string, args ...any) {
	fmt.Printf("calls: "+format+"\n", args...)
	os.Exit(1)
}

func must(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func newKey() wgtypes.Key {
	key, err := wgtypes.GeneratePrivateKey()
	must(err, "a key")
	return key
}

func network(text string) net.IPNet {
	_, found, err := net.ParseCIDR(text)
	must(err, text)
	return *found
}

// A peer of the device; nil: there is none.
func find(c *wgctrl.Client, name string, key wgtypes.Key) *wgtypes.Peer {
	device, err := c.Device(name)
	must(err, "Device")
	for i := range device.Peers {
		if device.Peers[i].PublicKey == key {
			return &device.Peers[i]
		}
	}
	return nil
}

// The settings of a peer, as text.
func describe(peer *wgtypes.Peer) string {
	var ips []string
	for _, ip := range peer.AllowedIPs {
		ips = append(ips, ip.String())
	}
	sort.Strings(ips)
	return fmt.Sprintf("%s %s %s %s", peer.Endpoint, peer.PresharedKey,
		peer.PersistentKeepaliveInterval, strings.Join(ips, ","))
}

func list(c *wgctrl.Client) {
	devices, err := c.Devices()
	must(err, "Devices")
	for _, device := range devices {
		fmt.Println(device.Name, device.Type, device.ListenPort, len(device.Peers))
	}
}

// An interface is imported and saved; a peer is made, changed, asked for and deleted.
func portal(c *wgctrl.Client, name string) {
	devices, err := c.Devices()
	must(err, "Devices")
	n := 0
	for _, device := range devices {
		if device.Name == name {
			n++
		}
	}
	if n != 1 {
		fail("%s is there %d times", name, n)
	}
	if _, err = c.Device("none"); !errors.Is(err, os.ErrNotExist) {
		fail("an interface that does not exist: %v", err)
	}

	private, port, mark := newKey(), 51777, 0x77
	must(c.ConfigureDevice(name, wgtypes.Config{
		PrivateKey: &private, ListenPort: &port, FirewallMark: &mark,
	}), "the interface")
	device, err := c.Device(name)
	must(err, "Device")
	if device.PrivateKey != private || device.PublicKey != private.PublicKey() ||
		device.ListenPort != port || device.FirewallMark != mark {
		fail("the interface is %+v", device)
	}

	key := newKey().PublicKey()
	must(c.ConfigureDevice(name, wgtypes.Config{
		Peers: []wgtypes.PeerConfig{{PublicKey: key}},
	}), "a new peer")
	if find(c, name, key) == nil {
		fail("the new peer is not there")
	}
	shared, keepalive := newKey(), 25*time.Second
	change := wgtypes.PeerConfig{
		PublicKey: key, UpdateOnly: true, PresharedKey: &shared,
		Endpoint:                    &net.UDPAddr{IP: net.ParseIP("2001:db8::9"), Port: 999},
		PersistentKeepaliveInterval: &keepalive,
		ReplaceAllowedIPs:           true,
		AllowedIPs:                  []net.IPNet{network("10.5.0.0/24"), network("fd05::/64")},
	}
	must(c.ConfigureDevice(name, wgtypes.Config{Peers: []wgtypes.PeerConfig{change}}),
		"a change of the peer")
	want := fmt.Sprintf("[2001:db8::9]:999 %s 25s 10.5.0.0/24,fd05::/64", shared)
	if got := describe(find(c, name, key)); got != want {
		fail("the peer is %s, not %s", got, want)
	}
	change.PublicKey = newKey().PublicKey()
	must(c.ConfigureDevice(name, wgtypes.Config{Peers: []wgtypes.PeerConfig{change}}),
		"a change of no peer")
	if find(c, name, change.PublicKey) != nil {
		fail("a change has made a peer")
	}
	must(c.ConfigureDevice(name, wgtypes.Config{
		Peers: []wgtypes.PeerConfig{{PublicKey: key, Remove: true}},
	}), "the end of the peer")
	if find(c, name, key) != nil {
		fail("the peer is still there")
	}
}

// All settings are written as a whole, again and again, as the nodes of a cluster come
// and go.
func kilo(c *wgctrl.Client, name string) {
	private, port, keepalive := newKey(), 51820, 10*time.Second
	var peers []wgtypes.PeerConfig
	for i := 0; i < 50; i++ {
		peers = append(peers, wgtypes.PeerConfig{
			PublicKey: newKey().PublicKey(), ReplaceAllowedIPs: true,
			Endpoint:                    &net.UDPAddr{IP: net.IPv4(192, 0, 2, byte(i)), Port: 51820},
			PersistentKeepaliveInterval: &keepalive,
			AllowedIPs: []net.IPNet{
				network(fmt.Sprintf("10.4.0.%d/32", i)),
				network(fmt.Sprintf("10.42.%d.0/24", i)),
			},
		})
	}
	for _, n := range []int{50, 50, 10, 30, 0, 50} {
		must(c.ConfigureDevice(name, wgtypes.Config{
			PrivateKey: &private, ListenPort: &port, ReplacePeers: true,
			Peers: peers[:n],
		}), "all settings")
		device, err := c.Device(name)
		must(err, "Device")
		if len(device.Peers) != n {
			fail("%d peers, not %d", len(device.Peers), n)
		}
		for i := 0; i < n; i++ {
			peer := find(c, name, peers[i].PublicKey)
			want := fmt.Sprintf("192.0.2.%d:51820 %s 10s 10.4.0.%d/32,10.42.%d.0/24",
				i, wgtypes.Key{}, i, i)
			if peer == nil || describe(peer) != want {
				fail("the peer %d of %d is %+v", i, n, peer)
			}
		}
	}
}

func main() {
	c, err := wgctrl.New()
	must(err, "New")
	defer c.Close()
	switch {
	case len(os.Args) == 2 && os.Args[1] == "list":
		list(c)
	case len(os.Args) == 3 && os.Args[1] == "portal":
		portal(c, os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "kilo":
		kilo(c, os.Args[2])
	default:
		fail("usage: calls list | portal NAME | kilo NAME")
	}
}
