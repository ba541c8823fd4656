#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The handshake of the WireGuard paper, computed a second time.

Nothing here is shared with the C code: X25519 (RFC 7748, section 5),
ChaCha20-Poly1305 (RFC 8439) and HChaCha20 (draft-irtf-cfrg-xchacha, section
2.2) are written out in Python from their definitions, BLAKE2s and HMAC come
from the standard library. The primitives check themselves against the vectors
of those documents, then a C header with the messages of one handshake between
fixed keys goes to standard output.
"""

import hashlib
import hmac
import struct

P25519 = 2**255 - 19
P1305 = 2**130 - 5


def x25519(scalar, point):
    k = bytearray(scalar)
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k = int.from_bytes(k, 'little')
    x1 = int.from_bytes(point, 'little') & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % P25519, b * b % P25519
        e = aa - bb
        da, cb = (x3 - z3) * a, (x3 + z3) * b
        x3 = (da + cb) ** 2 % P25519
        z3 = x1 * (da - cb) ** 2 % P25519
        x2 = aa * bb % P25519
        z2 = e * (aa + 121665 * e) % P25519
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P25519 - 2, P25519) % P25519).to_bytes(32, 'little')


def public(private):
    return x25519(private, b'\x09' + bytes(31))


def rotl(v, n):
    return (v << n | v >> 32 - n) & 0xffffffff


def quarter(s, a, b, c, d):
    for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8),
                       (c, d, b, 7)):
        s[x] = s[x] + s[y] & 0xffffffff
        s[z] = rotl(s[z] ^ s[x], n)


def rounds(state):
    s = list(state)
    for _ in range(10):
        for i in range(4):
            quarter(s, i, i + 4, i + 8, i + 12)
        for i in range(4):
            quarter(s, i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12)
    return s


def setup(key, tail):
    return struct.unpack('<16I', b'expand 32-byte k' + key + tail)


def block(key, counter, nonce):
    s = setup(key, struct.pack('<I', counter) + nonce)
    return struct.pack('<16I', *(a + b & 0xffffffff
                                 for a, b in zip(s, rounds(s))))


def xor_stream(key, nonce, data):
    out = bytearray()
    for i in range(0, len(data), 64):
        stream = block(key, 1 + i // 64, nonce)
        out += bytes(a ^ b for a, b in zip(data[i:i + 64], stream))
    return bytes(out)


def poly1305(key, data):
    r = int.from_bytes(key[:16], 'little') & \
        0x0ffffffc0ffffffc0ffffffc0fffffff
    acc = 0
    for i in range(0, len(data), 16):
        acc = (acc + int.from_bytes(data[i:i + 16] + b'\x01', 'little')) * r
        acc %= P1305
    acc += int.from_bytes(key[16:], 'little')
    return (acc & 2**128 - 1).to_bytes(16, 'little')


def pad16(data):
    return data + bytes(-len(data) % 16)


def seal_nonce(key, nonce, text, aad):
    ct = xor_stream(key, nonce, text)
    mac = pad16(aad) + pad16(ct) + struct.pack('<QQ', len(aad), len(ct))
    return ct + poly1305(block(key, 0, nonce)[:32], mac)


def aead(key, counter, text, aad):
    return seal_nonce(key, bytes(4) + struct.pack('<Q', counter), text, aad)


def xaead(key, nonce, text, aad):
    s = rounds(setup(key, nonce[:16]))
    subkey = struct.pack('<8I', *(s[:4] + s[12:]))
    return seal_nonce(subkey, bytes(4) + nonce[16:], text, aad)


def blake(*parts):
    return hashlib.blake2s(b''.join(parts)).digest()


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def hmac_blake(key, data):
    return hmac.new(key, data, hashlib.blake2s).digest()


def kdf(n, key, data):
    prk, outs, last = hmac_blake(key, data), [], b''
    for i in range(1, n + 1):
        last = hmac_blake(prk, last + bytes([i]))
        outs.append(last)
    return outs if n > 1 else outs[0]


def self_check():
    """The vectors of the documents the primitives come from."""
    h = bytes.fromhex
    # RFC 7748, section 5.2
    assert x25519(
        h('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4'),
        h('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c'),
    ) == h('c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552')
    # RFC 8439, section 2.8.2
    text = (b"Ladies and Gentlemen of the class of '99: If I could offer you "
            b'only one tip for the future, sunscreen would be it.')
    key = bytes(range(0x80, 0xa0))
    aad = h('50515253c0c1c2c3c4c5c6c7')
    assert seal_nonce(key, h('070000004041424344454647'), text, aad)[-16:] == \
        h('1ae10b594f09e26a7e902ecbd0600691')
    # draft-irtf-cfrg-xchacha-03, appendix A.3.1
    assert xaead(key, bytes(range(0x40, 0x58)), text, aad)[-16:] == \
        h('c0875924c1c7987947deafd8780acf49')
    # RFC 7693, appendix B
    assert blake(b'abc') == \
        h('508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982')


def named(label):
    return hashlib.sha256(label.encode()).digest()


def handshake():
    """Sections 5.4.2 to 5.4.7 of the paper, with fixed keys."""
    si, sr, ei, er = (named(n) for n in ('si', 'sr', 'ei', 'er'))
    psk, cookie_secret = named('psk'), named('cookie')
    nonce = named('nonce')[:24]
    source = bytes([192, 0, 2, 7]) + struct.pack('>H', 51820)
    idx_i, idx_r = 0x80c0ffee, 0x00000000
    realtime = 1700000000 * 10**9 + 987654321
    stamp = struct.pack('>QI', 0x400000000000000a + realtime // 10**9,
                        realtime % 10**9 & ~0xffffff)

    def macs(msg, to, cookie=None):
        mac1 = mac(blake(b'mac1----', to), msg)
        mac2 = mac(cookie, msg + mac1) if cookie else bytes(16)
        return msg + mac1 + mac2

    c = blake(b'Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s')
    h = blake(blake(c, b'WireGuard v1 zx2c4 Jason@zx2c4.com'), public(sr))

    c, h = kdf(1, c, public(ei)), blake(h, public(ei))
    c, k = kdf(2, c, x25519(ei, public(sr)))
    enc_static = aead(k, 0, public(si), h)
    h = blake(h, enc_static)
    c, k = kdf(2, c, x25519(si, public(sr)))
    enc_stamp = aead(k, 0, stamp, h)
    h = blake(h, enc_stamp)
    body = struct.pack('<II', 1, idx_i) + public(ei) + enc_static + enc_stamp
    initiation = macs(body, public(sr))

    cookie = mac(cookie_secret, source)
    reply = struct.pack('<II', 3, idx_i) + nonce + xaead(
        blake(b'cookie--', public(sr)), nonce, cookie, initiation[-32:-16])

    c, h = kdf(1, c, public(er)), blake(h, public(er))
    c = kdf(1, c, x25519(er, public(ei)))
    c = kdf(1, c, x25519(er, public(si)))
    c, tau, k = kdf(3, c, psk)
    h = blake(h, tau)
    enc_nothing = aead(k, 0, b'', h)
    h = blake(h, enc_nothing)
    response = macs(struct.pack('<III', 2, idx_r, idx_i) + public(er) +
                    enc_nothing, public(si))

    t_i, t_r = kdf(2, c, b'')
    counter = 2**63 + 5
    text = pad16(b'a packet of the initiator')
    data = struct.pack('<IIQ', 4, idx_r, counter) + aead(t_i, counter, text,
                                                         b'')
    return {
        'si': si, 'sr': sr, 'ei': ei, 'er': er, 'psk': psk,
        'cookie_secret': cookie_secret, 'nonce': nonce, 'source': source,
        'initiation': initiation, 'cookie_reply': reply,
        'initiation_with_cookie': macs(body, public(sr), cookie),
        'response': response, 't_i': t_i, 't_r': t_r, 'text': text,
        'data': data, 'stamp': stamp,
    }, {'idx_i': idx_i, 'idx_r': idx_r, 'realtime_ns': realtime,
        'data_counter': counter}


def pattern(n):
    return bytes((i * 7 + n) & 255 for i in range(n))


def digests():
    """One digest over many lengths for each construction."""
    acc = {'all_hash': b'', 'all_mac': b'', 'all_hmac': b'', 'all_kdf': b''}
    for n in range(300):
        data = pattern(n)
        acc['all_hash'] += blake(data)
        acc['all_mac'] += mac(pattern(n % 32 + 1), data)
        acc['all_hmac'] += hmac_blake(pattern(n % 100), data)
        acc['all_kdf'] += b''.join(kdf(3, pattern(32), data))
    return {name: blake(data) for name, data in acc.items()}


def rfc8439_a5():
    """Appendix A.5 of RFC 8439: its tag stands for the whole of it."""
    key = bytes.fromhex('1c9240a5eb55d38af333888604f6b5f0'
                        '473917c1402b80099dca5cbc207075c0')
    text = (b'Internet-Drafts are draft documents valid for a maximum of six '
            b'months and may be updated, replaced, or obsoleted by other '
            b'documents at any time. It is inappropriate to use '
            b'Internet-Drafts as reference material or to cite them other '
            b'than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d')
    aad = bytes.fromhex('f33388860000000000004e91')
    out = aead(key, 0x0807060504030201, text, aad)
    assert out[-16:].hex() == 'eead9d67890cbb22392336fea1851f38', out.hex()
    return {'a5_key': key, 'a5_text': text, 'a5_aad': aad, 'a5_out': out}


def main():
    self_check()
    arrays, numbers = handshake()
    arrays.update(digests())
    arrays.update(rfc8439_a5())
    print('/* Made by noise_reference.py: edit that. */')
    for name, value in numbers.items():
        print('#define VECTOR_%s UINT64_C(%#x)' % (name.upper(), value))
    for name, value in arrays.items():
        body = ', '.join('%d' % b for b in value)
        print('static const uint8_t vector_%s[] '
              '__attribute__((unused)) = { %s };' % (name, body))


if __name__ == '__main__':
    main()
