package service

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"gatehouse/tests/cluster/node/family"
)

// Table is the Services' part of a network namespace's netfilter rules.
//
// Base chains look a packet's destination up in a map that leads to the chain of the Service's port. A change touches
// only the chains concerned, and these hold no maps of their own, so that the kernel never shows a packet a half-made
// state. What is addressed to a Service and finds no chain is refused.
//
// The kernel keeps rules of IPv4 and of IPv6 apart, and so there is a Table of each.
type Table struct {
	conn     *nftables.Conn
	protocol protocol
	table    *nftables.Table
	services *nftables.Set
	hairpin  *nftables.Set
	extra    *nftables.Set

	ranges []netip.Prefix
	chains map[string]Chain
	owners map[Frontend]string // the name of the chain that has the frontend
	// known has the members of the sets hairpin and extra. They stay when nothing uses them any more: they do no
	// harm, and addresses come back.
	known map[member]bool
}

type member struct {
	set  *nftables.Set
	addr netip.Addr
}

// protocol is what rules of one family have that those of the other have not.
type protocol struct {
	family  nftables.TableFamily // also that of translations
	address nftables.SetDatatype
	bytes   uint32 // of an address
	// source and destination are where an IP header has its addresses.
	source, destination uint32
	unreachable         uint8 // the code by which ICMP says that a port is closed
}

var (
	ipv4 = protocol{
		family: nftables.TableFamilyIPv4, address: nftables.TypeIPAddr, bytes: 4, source: 12, destination: 16,
		unreachable: 3,
	}
	ipv6 = protocol{
		family: nftables.TableFamilyIPv6, address: nftables.TypeIP6Addr, bytes: 16, source: 8, destination: 24,
		unreachable: 4,
	}
)

// socketBuffer holds the messages of a large transaction, in bytes; the kernel's default fails at some 100 Services.
const socketBuffer = 64 << 20

// NewTable makes the table in the calling thread's network namespace, of the family that the ranges are of. Addresses
// of these are Services' only.
func NewTable(ranges ...netip.Prefix) (*Table, error) {
	conn, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		if err := c.SetWriteBuffer(socketBuffer); err != nil {
			return err
		}
		return c.SetReadBuffer(socketBuffer)
	}))
	if err != nil {
		return nil, fmt.Errorf("connect to netfilter: %w", err)
	}
	t := &Table{
		conn: conn, ranges: ranges, chains: map[string]Chain{}, owners: map[Frontend]string{},
		known: map[member]bool{},
	}
	t.protocol = ipv4
	if ranges[0].Addr().Is6() {
		t.protocol = ipv6
	}
	t.table = conn.AddTable(&nftables.Table{Family: t.protocol.family, Name: "services"})
	t.services = &nftables.Set{
		Table: t.table, Name: "services", IsMap: true, Concatenation: true, DataType: nftables.TypeVerdict,
		KeyType: nftables.MustConcatSetType(t.protocol.address, nftables.TypeInetProto, nftables.TypeInetService),
	}
	t.hairpin = &nftables.Set{
		Table: t.table, Name: "hairpin", Concatenation: true,
		KeyType: nftables.MustConcatSetType(t.protocol.address, t.protocol.address),
	}
	t.extra = &nftables.Set{Table: t.table, Name: "extra", KeyType: t.protocol.address}
	for _, s := range []*nftables.Set{t.services, t.hairpin, t.extra} {
		if err := conn.AddSet(s, nil); err != nil {
			return nil, fmt.Errorf("add set %s: %w", s.Name, err)
		}
	}
	t.addBaseChains()
	if err := conn.Flush(); err != nil {
		return nil, fmt.Errorf("make table: %w", err)
	}
	return t, nil
}

// Apply replaces the chains of the names in before by those in after, in one transaction: on error nothing has changed.
// A frontend that another chain has stays with that one; the names of chains that go without are returned.
func (t *Table) Apply(before []string, after []Chain) ([]string, error) {
	wanted, blocked := t.resolve(before, after)
	var stale []Chain // what was there before
	for _, name := range before {
		old, had := t.chains[name]
		if !had {
			continue // It had no endpoints.
		}
		next, has := wanted[name]
		if err := t.drop(old, next, !has); err != nil {
			return nil, err
		}
		stale = append(stale, old)
	}
	for _, c := range wanted {
		if err := t.add(t.chains[c.Name], c); err != nil {
			return nil, err
		}
	}
	if err := t.conn.Flush(); err != nil {
		return nil, fmt.Errorf("change table: %w", err)
	}
	t.commit(stale, wanted)
	return blocked, nil
}

// resolve gives each frontend to one chain: the one that has it, if that stays as it is, or else the first.
func (t *Table) resolve(before []string, after []Chain) (map[string]Chain, []string) {
	wanted := map[string]Chain{}
	var blocked []string
	taken := map[Frontend]bool{}
	for _, c := range after {
		own := slices.DeleteFunc(slices.Clone(c.Frontends), func(f Frontend) bool {
			owner, owned := t.owners[f]
			return taken[f] || owned && !slices.Contains(before, owner)
		})
		if len(own) < len(c.Frontends) {
			blocked = append(blocked, c.Name)
		}
		for _, f := range own {
			taken[f] = true
		}
		c.Frontends = own
		wanted[c.Name] = c
	}
	return wanted, blocked
}

// drop takes away what an old chain has and the next one of that name has not.
func (t *Table) drop(old, next Chain, whole bool) error {
	var gone []nftables.SetElement
	for _, f := range old.Frontends {
		if !slices.Contains(next.Frontends, f) {
			gone = append(gone, nftables.SetElement{Key: f.key()})
		}
	}
	if len(gone) > 0 {
		if err := t.conn.SetDeleteElements(t.services, gone); err != nil {
			return fmt.Errorf("remove addresses of %s: %w", old.Name, err)
		}
	}
	if whole {
		chain := &nftables.Chain{Table: t.table, Name: old.Name}
		t.conn.FlushChain(chain)
		t.conn.DelChain(chain)
	}
	return nil
}

// add makes the rules of a chain, if they are not those of the old one, and leads to it.
func (t *Table) add(old, c Chain) error {
	chain := &nftables.Chain{Table: t.table, Name: c.Name}
	if old.Name == "" {
		t.conn.AddChain(chain)
	}
	if !slices.Equal(old.Backends, c.Backends) {
		t.conn.FlushChain(chain)
		for i, b := range c.Backends {
			t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: t.toBackend(b, len(c.Backends)-i)})
		}
	}
	var fresh []nftables.SetElement
	for _, f := range c.Frontends {
		if !slices.Contains(old.Frontends, f) {
			fresh = append(fresh, nftables.SetElement{Key: f.key(), VerdictData: &expr.Verdict{
				Kind:  expr.VerdictGoto,
				Chain: c.Name,
			}})
		}
	}
	if len(fresh) > 0 {
		if err := t.conn.SetAddElements(t.services, fresh); err != nil {
			return fmt.Errorf("add addresses of %s: %w", c.Name, err)
		}
	}
	for _, m := range t.members(c) {
		if t.known[m] {
			continue // The kernel has it.
		}
		if err := t.conn.SetAddElements(m.set, []nftables.SetElement{{Key: m.key()}}); err != nil {
			return fmt.Errorf("add %s to set %s: %w", m.addr, m.set.Name, err)
		}
	}
	return nil
}

// commit records what the kernel has taken.
func (t *Table) commit(stale []Chain, wanted map[string]Chain) {
	for _, old := range stale {
		delete(t.chains, old.Name)
		for _, f := range old.Frontends {
			delete(t.owners, f)
		}
	}
	for _, c := range wanted {
		t.chains[c.Name] = c
		for _, f := range c.Frontends {
			t.owners[f] = c.Name
		}
		for _, m := range t.members(c) {
			t.known[m] = true
		}
	}
	for _, old := range stale {
		forgetFlows(old, t.chains[old.Name])
	}
}

// members returns the sets' members that a chain needs.
func (t *Table) members(c Chain) []member {
	var all []member
	for _, b := range c.Backends {
		all = append(all, member{t.hairpin, b.Addr()})
	}
	for _, f := range c.Frontends {
		if !slices.ContainsFunc(t.ranges, func(p netip.Prefix) bool { return p.Contains(f.Addr) }) {
			all = append(all, member{t.extra, f.Addr})
		}
	}
	return all
}

// key is the set's element: hairpin holds pairs of equal addresses.
func (m member) key() []byte {
	if m.set.Concatenation {
		return slices.Concat(m.addr.AsSlice(), m.addr.AsSlice())
	}
	return m.addr.AsSlice()
}

// key pads each part to four bytes, as the kernel does with registers.
func (f Frontend) key() []byte {
	key := append(f.Addr.AsSlice(), f.Protocol, 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(key, f.Port), 0, 0)
}

// register32 is the first of the kernel's four-byte registers.
const register32 uint32 = unix.NFT_REG32_00

func (p protocol) load(offset, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: p.bytes}
}

// toBackend sends a packet to a backend with the probability of one in left, which is the number of backends from this
// one on.
func (t *Table) toBackend(b netip.AddrPort, left int) []expr.Any {
	var exprs []expr.Any
	if left > 1 {
		exprs = append(exprs,
			&expr.Numgen{Register: unix.NFT_REG_1, Modulus: uint32(left), Type: unix.NFT_NG_RANDOM},
			&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{0, 0, 0, 0}},
		)
	}
	return append(exprs,
		&expr.Immediate{Register: unix.NFT_REG_1, Data: b.Addr().AsSlice()},
		&expr.Immediate{Register: unix.NFT_REG_2, Data: binaryutil.BigEndian.PutUint16(b.Port())},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: uint32(t.protocol.family), RegAddrMin: unix.NFT_REG_1,
			RegProtoMin: unix.NFT_REG_2,
		},
	)
}

func (t *Table) addBaseChains() {
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority,
		rules ...[]expr.Any,
	) {
		chain := t.conn.AddChain(&nftables.Chain{Table: t.table, Name: name, Type: kind, Hooknum: hook, Priority: priority})
		for _, r := range rules {
			t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: r})
		}
	}
	p := t.protocol
	behind := register32 + p.bytes/4 // The first register after those that hold one address.
	toService := []expr.Any{
		p.load(p.destination, register32),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: behind},
		&expr.Payload{DestRegister: behind + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: register32, IsDestRegSet: true, SetName: t.services.Name, SetID: t.services.ID},
	}
	base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, toService)
	base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest, toService)
	// A pod that reaches itself through a Service must not see its own address as the sender's.
	base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, []expr.Any{
		p.load(p.source, register32),
		p.load(p.destination, behind),
		&expr.Lookup{SourceRegister: register32, SetName: t.hairpin.Name, SetID: t.hairpin.ID},
		&expr.Masq{},
	})
	for name, hook := range map[string]*nftables.ChainHook{
		"refuse-forward": nftables.ChainHookForward,
		"refuse-output":  nftables.ChainHookOutput,
	} {
		base(name, nftables.ChainTypeFilter, hook, nftables.ChainPriorityFilter, t.refusals()...)
	}
}

// refusals answers what is still addressed to a Service after translation.
func (t *Table) refusals() [][]expr.Any {
	destination := t.protocol.load(t.protocol.destination, unix.NFT_REG_1)
	matches := [][]expr.Any{{
		destination,
		&expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: t.extra.Name, SetID: t.extra.ID},
	}}
	for _, p := range t.ranges {
		matches = append(matches, []expr.Any{
			destination,
			&expr.Bitwise{
				SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: t.protocol.bytes,
				Mask: family.Net(p).Mask, Xor: make([]byte, t.protocol.bytes),
			},
			&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: p.Masked().Addr().AsSlice()},
		})
	}
	isTCP := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_2, Data: []byte{unix.IPPROTO_TCP}},
	}
	var rules [][]expr.Any
	for _, m := range matches {
		rules = append(rules,
			slices.Concat(m, isTCP, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}),
			slices.Concat(m, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: t.protocol.unreachable}}),
		)
	}
	return rules
}
