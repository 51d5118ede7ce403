"""The parts of which tales' bash scripts are made: set-up, helpers, and the few lines of plain Python."""

SETUP = """\
# A pair of devices: what is sent on wire0 arrives on veth0. The article used a tun device; this does the
# same and needs no /dev/net/tun, which is closed to ordinary users on some systems.
ip link set lo up
ip link add veth0 address 02:00:00:00:00:01 type veth peer name wire0 address 02:00:00:00:00:02
for device in veth0 wire0; do ip link set $device arp off addrgenmode none up; done
# Spoofed sources would be dropped by the reverse path filter, which is inherited from the host.
for conf in all default veth0; do echo 0 >/proc/sys/net/ipv4/conf/$conf/rp_filter; done
"""
ADDRESSES = {
    "ip": "ip addr add 192.0.2.1/24 dev veth0\nip route add default dev veth0\n",
    "ip6": "echo 1 >/proc/sys/net/ipv6/conf/wire0/disable_ipv6\n"
    "ip addr add 2001:db8::1/64 dev veth0 nodad\nip -6 route add default dev veth0\n",
}
RULES = """\
# Refer to conntrack, or it does not run in this namespace.
{tool} -t raw -A PREROUTING -j CT
# A rule without a target: it counts what conntrack let through.
{tool} -t mangle -A PREROUTING
# The closed port 80 would answer RST, which deletes the entry.
{tool} -t raw -A OUTPUT -p tcp --sport 80 -j DROP
"""

LEGACY = """\
if ! iptables-legacy-save >/dev/null 2>&1; then
  echo "SKIPPED: this user may not read iptables-legacy's counters (/proc/net/ip_tables_names is root's)"
  exit 4
fi
"""

LOG = r"""# log_says WORDS: whether the kernel log has new lines with them. Only such a line is evidence: an ordinary user
# may not read the log, and the kernel writes no more than ten of them in five seconds, for all namespaces.
log_says() { dmesg 2>/dev/null | grep -vxF -f "$tmp/dmesg" | grep -q -- "$1" && echo yes || echo no; }
"""

HELPERS = r"""# baseline: remember every counter, and watch for new entries from now on.
baseline() {
  local save
  for save in @SAVES@; do $save -c 2>/dev/null >"$tmp/$save" || true; done
  conntrack -S >"$tmp/stats"
  nstat -asz >"$tmp/nstat" 2>/dev/null
  (dmesg 2>/dev/null || true) >"$tmp/dmesg"
  count_before=$(cat /proc/sys/net/netfilter/nf_conntrack_count)
  if [ -n "${watcher:-}" ]; then kill "$watcher"; wait "$watcher" || true; fi
  conntrack -E -f @FAMILY@ -e NEW,UPDATES >"$tmp/events" 2>/dev/null &
  watcher=$!
  # it listens once a ctnetlink socket (protocol 12) has joined a group
  until awk '$2 == 12 && $4 != "00000000" {found = 1} END {exit !found}' /proc/net/netlink; do sleep 0.02; done
}

# counter SAVE TABLE CHAIN NUMBER: packets a rule has counted since; rule 0 is the chain's policy.
counter() { echo $(($($1 -c 2>/dev/null | packets "$2" "$3" "$4") - $(packets "$2" "$3" "$4" <"$tmp/$1"))); }
packets() {
  awk -v table="*$1" -v chain="$2" -v number="$3" '
    /^\*/ {here = $1 == table}
    here && number == 0 && $1 == ":" chain {split($3, p, /\[|:/); n = p[2]}
    here && $2 == "-A" && $3 == chain && ++i == number {split($1, p, /\[|:/); n = p[2]}
    END {print n + 0}'
}

# stat NAME: how far a statistic of conntrack has risen. network NAME: the same for nstat's counters.
stat() { echo $(($(conntrack -S | sum "$1") - $(sum "$1" <"$tmp/stats"))); }
sum() { tr -s ' \t' '\n' | awk -F= -v name="$1" '$1 == name {n += $2} END {print n + 0}'; }
network() { echo $(($(nstat -asz | value "$1") - $(value "$1" <"$tmp/nstat"))); }
value() { awk -v name="$1" '$1 == name {n = $2} END {print n + 0}'; }

# new [STATE]: entries that began since, by their events. entries: how many there are. grown: how many more.
new() { grep -cw -- "${1:-NEW}" "$tmp/events" || true; }
entries() { cat /proc/sys/net/netfilter/nf_conntrack_count; }
grown() { echo $(($(entries) - count_before)); }

# expect WHAT OPERATOR PREDICTED MEASURED
failed=0
expect() {
  local word=ok
  case $2 in
  =) [ "$4" = "$3" ] ;;
  '>=') [ "$4" -ge "$3" ] ;;
  '<=') [ "$4" -le "$3" ] ;;
  ~*) [ $(($4 - $3)) -le "${2#\~}" ] && [ $(($3 - $4)) -le "${2#\~}" ] ;;
  esac || { word=FAILED; failed=3; }
  local predicted=$3
  case $2 in '>=') predicted="≥ $3" ;; '<=') predicted="≤ $3" ;; ~*) predicted="$3 ± ${2#\~}" ;; esac
  printf '%-6s  %s: predicted %s, measured %s\n' "$word" "$1" "$predicted" "$4"
}
"""

FILL = r"""
# fill.py FREE assured|plain NTH: make entries through ctnetlink until FREE slots are left; says how many.
# Status CONFIRMED|ASSURED|SEEN_REPLY: the table cannot evict them. Zone 65535: no packet matches them.
import socket, struct, sys

free, assured, nth = int(sys.argv[1]), sys.argv[2] == "assured", int(sys.argv[3])
proc = "/proc/sys/net/netfilter/nf_conntrack_"
number = lambda name: int(open(proc + name).read())

def attr(kind, value, nested=0):
    return struct.pack("HH", 4 + len(value), kind | nested) + value + bytes(-len(value) % 4)

def nest(kind, *inside):
    return attr(kind, b"".join(inside), 0x8000)

def tuple_(kind, source, destination):
    ip = nest(1, attr(1, source), attr(2, destination))                       # CTA_TUPLE_IP
    port = nest(2, attr(1, b"\6"), attr(2, b"\0\1"), attr(3, b"\0\1"))        # CTA_TUPLE_PROTO: TCP
    return nest(kind, ip, port)

mark = b"\xfe\xdc\xba\x98"                       # stands for the address that differs in each entry
body = struct.pack("BBH", 2, 0, 0) + tuple_(1, mark, b"\xc0\0\2\1") + tuple_(2, b"\xc0\0\2\1", mark)
body += attr(3, struct.pack("!I", 14 if assured else 8))                      # CTA_STATUS
body += attr(7, struct.pack("!I", 3600)) + attr(18, struct.pack("!H", 65535)) # CTA_TIMEOUT, CTA_ZONE
body += nest(4, nest(1, attr(1, b"\3")))                                      # CTA_PROTOINFO: ESTABLISHED
head = struct.pack("IHHII", 16 + len(body), 0x100, 0x401, 0, 0)               # IPCTNL_MSG_CT_NEW, create
a, b, c = (head + body).split(mark)
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
made = 0
while (wanted := number("max") - free - number("count")) > 0:
    for start in range(made, made + wanted, 500):
        block = range(start, min(start + 500, made + wanted))
        s.send(b"".join(a + k + b + k + c for k in (struct.pack("!I", (10 + nth << 24) + i) for i in block)))
    made += wanted
print(made)
"""

SEND = r"""
# send.py PROTOCOL FLAGS SOURCE DESTINATION FIRST_PORT LAST_PORT PORT COUNT SECONDS_BETWEEN
import ipaddress, socket, struct, sys, time

def checksum(data):
    data += bytes(len(data) % 2)
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF

def packet(protocol, flags, source, destination, sport, dport):
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if protocol == "tcp":
        bits = sum(1 << "FSRPAU".index(flag) for flag in flags)
        number, at, body = 6, 16, struct.pack("!HHIIBBHHH", sport, dport, 0, 0, 0x50, bits, 8192, 0, 0)
    else:
        number, at, body = 17, 6, struct.pack("!HHHH", sport, dport, 12, 0) + b"tale"
    pseudo = source.packed + destination.packed + struct.pack("!II", len(body), number)
    body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2:]
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(body), number, 64) + source.packed + destination.packed + body
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, number, 0) + source.packed + destination.packed
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + body

if __name__ == "__main__":
    protocol, flags, source, destination, *numbers, gap = sys.argv[1:]
    first, last, dport, count = map(int, numbers)
    sources = ipaddress.ip_network(source)      # one address, or a net of which each packet takes the next
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind(("wire0", 0))
    for i in range(count):
        p = packet(protocol, flags, sources[i % sources.num_addresses], destination, first + i % (last - first + 1), dport)
        kind = b"\x08\x00" if p[0] >> 4 == 4 else b"\x86\xdd"
        wire.send(bytes.fromhex("020000000001") + bytes.fromhex("020000000002") + kind + p)
        time.sleep(float(gap))
"""

APP = r"""
# app.py udp|raw|connect ADDRESS PORT: send from here and say what this program is told.
import errno, socket, sys
from send import packet

how, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    if how == "udp":
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"tale", (address, port))
        print("sent")
    elif how == "raw":
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        s.sendto(packet("tcp", "S", address, address, 10000, port), (address, 0))
        print("sent")
    else:
        socket.create_connection((address, port), timeout=1)
        print("connected")
except TimeoutError:
    print("hangs")
except OSError as e:
    print(errno.errorcode[e.errno])
"""

HOLD = r"""
# hold.py QUEUE PACKETS: take packets from NFQUEUE until all are there, then let all of them go.
import socket, struct, sys

queue, wanted = int(sys.argv[1]), int(sys.argv[2])
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
s.settimeout(10)

def tell(kind, attribute, value):      # kind 1: verdict, 2: configuration (nfnetlink_queue.h)
    body = struct.pack("BBH", 0, 0, socket.htons(queue)) + struct.pack("HH", 4 + len(value), attribute) + value
    body += bytes(-len(body) % 4)
    s.send(struct.pack("IHHII", 16 + len(body), 3 << 8 | kind, 1, 0, 0) + body)

tell(2, 1, struct.pack("!BBH", 1, 0, 0))      # bind
tell(2, 2, struct.pack("!IB", 0, 1))          # send only metadata
print("ready", flush=True)
held = []
while len(held) < wanted:
    data = s.recv(65536)
    at = 20 if struct.unpack_from("H", data, 4)[0] == 3 << 8 else len(data)
    while at < len(data):
        length, kind = struct.unpack_from("HH", data, at)
        if kind == 1:                         # NFQA_PACKET_HDR: its number
            held.append(data[at + 4:at + 8])
        at += length + 3 & ~3
for number in held:
    tell(1, 2, struct.pack("!I", 1) + number) # NF_ACCEPT
"""

LISTEN = r"""
# listen.py ADDRESS PORT BACKLOG: listen, and never accept.
import socket, sys, time

family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, backlog=int(sys.argv[3]))
print("ready", flush=True)
time.sleep(600)
"""

TAKEN = r"""
# What neither a new flow nor early_drop explains went to the garbage collector, and left slots: this measures nothing.
taken=$((@HELD@ - $(stat early_drop) - $(entries)))
if [ $taken -gt 0 ]; then echo "SKIPPED: the garbage collector took $taken entries meanwhile, run this again"; exit 4; fi
"""
PASSED = "$(counter iptables-save mangle PREROUTING 1)"
"""Part of @HELD@, what the table would hold. Among thousands of entries that end the events of new ones get lost."""

LOCK = "flock /sys/module/nf_conntrack "
"""One full table on a machine at a time; the sandbox's Fill takes the same lock (probe.headroom)."""

HEADROOM = r"""
# A full table is felt outside: hash and garbage collector are shared. Leave a busy machine alone.
count=$(cat /proc/sys/net/netfilter/nf_conntrack_count) limit=$(cat /proc/sys/net/netfilter/nf_conntrack_max)
free_kb=$(awk '/MemAvailable/ {print $2}' /proc/meminfo)
if [ "$limit" = 0 ] || [ $((count * 10)) -gt $((limit * 8)) ] || [ $((limit * 384 / 1024 * 10)) -gt "$free_kb" ]; then
  echo "SKIPPED: filling a table of $limit entries is not safe on this machine now ($count taken by the host)"
  exit 4
fi
"""

ENTER = r"""
# A network namespace of its own, for an ordinary user inside a user namespace; all of it ends with the script.
export -f tale
if [ "$(id -u)" = 0 ]; then user=(); else user=(--user --map-root-user); fi
exec @LOCK@unshare "${user[@]}" --net --pid --fork --kill-child=KILL bash -euo pipefail -c tale
"""
