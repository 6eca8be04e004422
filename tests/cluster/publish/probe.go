package publish

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// answerLimit is how long a port inside may take to answer; there is no wire between. A machine that is busy may lose the
// segment, so a port is asked several times before its silence counts.
const (
	answerLimit = 200 * time.Millisecond
	attempts    = 3
)

const (
	flagSYN, flagRST, flagACK = 1 << 1, 1 << 2, 1 << 4
	segmentLength             = 20
)

// Listening reports whether a TCP port accepts connections, without making one: it sends the first segment of a
// handshake and looks at the answer, which the kernel then resets. The program that listens sees nothing of it, which
// matters where a connection alone already opens one to a backend and is written to an access log.
func Listening(target netip.AddrPort, source netip.Addr) (bool, error) {
	reserved, port, err := reservePort(source)
	if err != nil {
		return false, err
	}
	defer unix.Close(reserved)
	raw, err := openRaw(source, port)
	if err != nil {
		return false, err
	}
	defer unix.Close(raw)
	syn := segment(netip.AddrPortFrom(source, port), target)
	for range attempts {
		err = unix.Sendto(raw, syn, 0, &unix.SockaddrInet4{Addr: target.Addr().As4()})
		if errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EPERM) ||
			errors.Is(err, unix.ECONNREFUSED) {
			return false, nil // A rule of the cluster's firewall rejected it, or there is no such address.
		}
		if err != nil {
			return false, fmt.Errorf("probing %s: %w", target, err)
		}
		if open, answered, err := awaitAnswer(raw, target, port); answered || err != nil {
			return open, err
		}
	}
	return false, nil
}

// Probes come from these ports in turn. Connections have theirs from 32768 on, and kernels remember those that have ended
// for some time: the first segment of a probe from such a port is taken for a part of that connection, and what answers it
// does not say whether the port listens.
const (
	firstPort  = 10000
	probePorts = 20000
)

var probes atomic.Uint32

// reservePort binds the next port that nobody else has. Since nobody listens on it either, the kernel answers what comes
// to it with a reset.
func reservePort(source netip.Addr) (int, uint16, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("making a socket: %w", err)
	}
	for range probePorts {
		port := uint16(firstPort + probes.Add(1)%probePorts)
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4(), Port: int(port)})
		if err == nil {
			return fd, port, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	_ = unix.Close(fd)
	return 0, 0, fmt.Errorf("reserving a port of %s: %w", source, err)
}

// openRaw opens a raw socket that receives the segments to one port only.
func openRaw(source netip.Addr, port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return 0, fmt.Errorf("making a raw socket: %w", err)
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH},                         // X = length of the IP header
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},                    // A = destination port
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(port), Jf: 1}, // is it ours?
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	timeout := unix.NsecToTimeval(answerLimit.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4()}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("preparing a raw socket: %w", err)
	}
	return fd, nil
}

// awaitAnswer reads until the target says to the port whether it listens, or is silent for too long.
func awaitAnswer(raw int, target netip.AddrPort, port uint16) (open, answered bool, err error) {
	packet := make([]byte, 512)
	for deadline := time.Now().Add(answerLimit); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(raw, packet, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			return false, false, nil
		}
		if err != nil {
			return false, false, fmt.Errorf("waiting for the answer of %s: %w", target, err)
		}
		header := int(packet[0]&0xf) * 4
		if n < header+segmentLength || netip.AddrFrom4(from.(*unix.SockaddrInet4).Addr) != target.Addr() ||
			binary.BigEndian.Uint16(packet[header:]) != target.Port() || binary.BigEndian.Uint16(packet[header+2:]) != port {
			continue // It came before the filter was set, or does not answer this.
		}
		switch flags := packet[header+13]; {
		case flags&flagRST != 0:
			return false, true, nil
		case flags&flagSYN != 0 && flags&flagACK != 0:
			return true, true, nil
		}
	}
	return false, false, nil
}

// segment makes the first segment of a handshake.
func segment(source, target netip.AddrPort) []byte {
	tcp := make([]byte, segmentLength)
	binary.BigEndian.PutUint16(tcp[0:], source.Port())
	binary.BigEndian.PutUint16(tcp[2:], target.Port())
	tcp[12] = segmentLength / 4 << 4
	tcp[13] = flagSYN
	binary.BigEndian.PutUint16(tcp[14:], 1024) // window
	from, to := source.Addr().As4(), target.Addr().As4()
	sum := uint32(unix.IPPROTO_TCP + segmentLength)
	for _, part := range [][]byte{from[:], to[:], tcp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(tcp[16:], ^uint16(sum))
	return tcp
}
