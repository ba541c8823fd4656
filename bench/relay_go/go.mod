module bench/relay_go

go 1.26.0

require github.com/tailscale/wireguard-go v0.0.0-20260928213032-417aef361226

require (
	golang.org/x/net v0.54.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
)
