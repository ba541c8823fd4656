// SPDX-License-Identifier: MIT

// relay PORT - forwards as examples/relay.c does, with the package conn of Tailscale's
// wireguard-go
//
// The package takes merged messages (UDP_GRO) into a slab, and sends the datagrams that
// one call has for one endpoint as trains of vectors (UDP_SEGMENT). So the datagrams of
// a round are sorted by their destination, and each destination has one call. The slab
// is as large as in wireguard-go. IPv4 only.
package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"github.com/tailscale/wireguard-go/conn"
)

const (
	flows     = 1 << 16
	numberLen = 4
	// Two messages of the largest size, as device/packetbuf.go has it.
	slabLen = 2 * (1<<16 - 1)
)

type end struct {
	addr     netip.AddrPort
	endpoint conn.Endpoint
	waiting  [][]byte
}

type flow struct {
	ends  [2]end
	nEnds int
}

type relay struct {
	bind  conn.Bind
	flows []flow
	// The ends that datagrams wait for.
	busy []*end
}

// otherEnd returns where a datagram goes, or nil.
func (r *relay) otherEnd(data []byte, from conn.Endpoint) *end {
	if len(data) < numberLen {
		return nil
	}
	number := binary.BigEndian.Uint32(data)
	if number >= flows {
		return nil
	}
	f := &r.flows[number]
	addr := from.(*conn.StdNetEndpoint).AddrPort
	i := 0
	for i < f.nEnds && f.ends[i].addr != addr {
		i++
	}
	if i == 2 {
		return nil
	}
	f.ends[i].addr = addr
	f.ends[i].endpoint = from
	if i == f.nEnds {
		f.nEnds++
	}
	if f.nEnds < 2 {
		return nil
	}
	return &f.ends[1-i]
}

func (r *relay) run(receive conn.ReceiveFunc) error {
	slab := make([]byte, slabLen)
	packets := make([]conn.ReceivedPacket, r.bind.BatchSize())
	for {
		n, err := receive(slab, packets)
		if err != nil {
			return err
		}
		for i := range packets[:n] {
			data := packets[i].Bytes(slab)
			to := r.otherEnd(data, packets[i].Endpoint)
			if to == nil {
				continue
			}
			if len(to.waiting) == 0 {
				r.busy = append(r.busy, to)
			}
			to.waiting = append(to.waiting, data)
		}
		for _, to := range r.busy {
			if err := r.bind.Send(to.waiting, to.endpoint, 0); err != nil {
				return err
			}
			to.waiting = to.waiting[:0]
		}
		r.busy = r.busy[:0]
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: relay PORT")
		os.Exit(2)
	}
	port, err := strconv.ParseUint(os.Args[1], 10, 16)
	r := &relay{bind: conn.NewStdNetBind(), flows: make([]flow, flows)}
	var receive []conn.ReceiveFunc
	if err == nil {
		receive, _, err = r.bind.Open(uint16(port))
	}
	if err == nil {
		err = r.run(receive[0])
	}
	fmt.Fprintln(os.Stderr, "relay:", err)
	os.Exit(1)
}
