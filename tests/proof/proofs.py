# SPDX-License-Identifier: MIT
"""What is proven: for each driver the sources, the planted faults, and what Eva
handles case by case."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Plant:
    """A fault: `old` in the file is replaced by `new`."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Split:
    """In front of the statement `before`, the values of `term` are told apart."""

    path: str
    before: str
    term: str


@dataclass(frozen=True)
class Proof:
    """
    sources: files that are analysed with the driver
    plants: each must give an alarm
    splits: see above
    joined: functions in which Eva keeps states apart only where it was told so;
        in all others, up to `states` of them
    is_included: the driver includes the sources, for their static functions
    options: more options of Frama-C
    """

    sources: list
    plants: list
    splits: tuple = ()
    joined: tuple = ()
    states: int = 1000
    is_included: bool = False
    options: tuple = ()


WIRE = "src/noise/wire.c"
VNET = "src/tun/vnet.c"
NETLINK = "src/base/netlink.c"
CONTROL = "src/udpgather/control.c"
MSS = "src/tun/mss.c"
VMGENID = "src/engine/vmgenid.c"
FLOW = "src/tun/flow.c"
OVERLAY = "src/tun/overlay.c"
REPLAY = "src/noise/replay.c"
UNREACHABLE = "src/engine/unreachable.c"
REQUEST = "src/keeper/request.c"
GRAMMAR = "src/uapi/grammar.c"
STATE = "src/handover/state_read.c"
READER = "src/journal/reader.c"

PROOFS = {
    "message": Proof(
        [WIRE],
        [Plant(WIRE, "len < MESSAGE_MIN_LEN", "len < 3"),
         Plant(WIRE, "len == sizeof(struct message_cookie)",
               "len >= sizeof(struct message_cookie) - 1")]),
    "vnet": Proof(
        [VNET],
        [Plant(VNET, "len < min)", "len + 1 < min)"),
         Plant(VNET, "frame->len - off < 8", "frame->len - off < 3"),
         Plant(VNET, "if (hdr->inner_off > frame->len)",
               "if (hdr->inner_off > frame->len + 1)")],
        [Split(VNET, "if (frame->len - frame->l4_off < l4_len)", "l4_len"),
         Split(VNET, "return check_ip(pkt + frame->ip_off", "frame->ip_off")],
        options=("-eva-interprocedural-splits",)),
    "netlink": Proof(
        [NETLINK],
        [Plant(NETLINK, "if (len > m->left)\n\t\treturn NULL;", ""),
         Plant(NETLINK, "attr->nla_len > a->left",
               "attr->nla_len > a->left + 1")]),
    "control": Proof(
        [CONTROL],
        [Plant(CONTROL, "while (len >= sizeof(struct cmsghdr)) {",
               "while (len + 1 >= sizeof(struct cmsghdr)) {"),
         Plant(CONTROL, "head.cmsg_len > len)", "head.cmsg_len > len + 8)"),
         Plant(CONTROL, "if (len < sizeof(tclass))", "if (len < 3)")],
        [Split(CONTROL, "at += step;", "step"),
         Split(CONTROL, "if (is_entry(&head)) {", "head.cmsg_len")]),
    "mss": Proof(
        [MSS],
        [Plant(MSS, "len - i < 2 || ", ""),
         Plant(MSS, "len < off + sizeof(struct tcp_hdr)",
               "len + 8 < off + sizeof(struct tcp_hdr)")],
        [Split(MSS, "if (len < off + sizeof(struct tcp_hdr) ||", "off"),
         Split(MSS, "for (size_t i = sizeof(struct tcp_hdr);", "len"),
         Split(MSS, "if (len - i < 2 ||", "i")],
        joined=("find_option",),
        options=("-eva-interprocedural-splits",)),
    "vmgenid": Proof(
        [VMGENID],
        [Plant(VMGENID, "if (field_len == len)\n\t\t\tbreak;", ""),
         Plant(VMGENID, "len -= field_len + 1", "len -= field_len")],
        [Split(VMGENID, "if (field_len >= name_len", "field_len")]),
    "flow": Proof(
        [FLOW, OVERLAY],
        [Plant(FLOW, "p->len < sizeof(*ip)", "p->len + 1 < sizeof(*ip)"),
         Plant(OVERLAY, "len - off <= hdr_len + ETHERNET_LEN",
               "len - off < hdr_len + ETHERNET_LEN")],
        [Split(OVERLAY, "if (len - off <= hdr_len + ETHERNET_LEN)", "hdr_len")],
        joined=("overlays_lookup",), states=100),
    "replay": Proof(
        [REPLAY],
        [Plant(REPLAY, "++word % REPLAY_WORDS", "++word % (REPLAY_WORDS + 1)")],
        states=0),
    "request": Proof(
        [REQUEST],
        [Plant(REQUEST, "request_len(request->head.kind) != len",
               "request_len(request->head.kind) > len + 1"),
         Plant(REQUEST, "ask->n > REQUEST_QUESTIONS_MAX",
               "ask->n > REQUEST_QUESTIONS_MAX + 1"),
         Plant(REQUEST, "kind >= REQUEST_KINDS", "kind > REQUEST_KINDS")],
        [Split(REQUEST, "return is_zero((const uint8_t *)&ask->questions[ask->n]",
               "ask->n")],
        joined=("is_zero", "is_text", "is_ask")),
    "unreachable": Proof(
        [UNREACHABLE],
        [Plant(UNREACHABLE, "len < hdr_len + sizeof(struct icmp_hdr)",
               "len < hdr_len"),
         Plant(UNREACHABLE, "size_min(len, UNREACHABLE_MAX_LEN - sizeof(*e))",
               "size_min(len, UNREACHABLE_MAX_LEN + 1 - sizeof(*e))")]),
    "grammar": Proof(
        [GRAMMAR],
        [Plant(GRAMMAR, "len >= sizeof(addr)", "len > sizeof(addr)"),
         Plant(GRAMMAR, "strlen(text) != 2 * NOISE_PUBLIC_KEY_LEN",
               "strlen(text) < 2 * NOISE_PUBLIC_KEY_LEN - 2")],
        is_included=True,
        options=("-eva-split-return-function", "parse_number:0")),
    "state": Proof(
        [STATE],
        [Plant(STATE, "if (len > r->len - r->off)", "if (len > r->len)"),
         Plant(STATE, "head->len > len || ", "")],
        [Split(STATE, "state->bytes = bytes;", "head.len")],
        states=2000, is_included=True,
        options=("-eva-interprocedural-splits",)),
    "reader": Proof(
        [READER],
        [Plant(READER, "if (left < sizeof(*head))", "if (left + 8 < sizeof(*head))"),
         Plant(READER, "head->len > left - sizeof(*head) ||\n\t    "
               "layout_record_len((size_t)head->len) > left", "head->len > left"),
         Plant(READER, "head->n_slots > (r->store->len - LAYOUT_HEAD_LEN)",
               "head->n_slots > r->store->len"),
         Plant(READER, "store->len < LAYOUT_HEAD_LEN",
               "store->len + 8 < LAYOUT_HEAD_LEN")],
        is_included=True),
}
