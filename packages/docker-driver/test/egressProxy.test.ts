import { assert, it } from "@effect/vitest"
import * as egress from "../src/internal/egressProxy.ts"

const allows = (entry: string, host: string, port: number) => egress.allows([entry], { host, port })

it("a host is allowed by its name, at the usual ports unless the list names one", () => {
  assert.isTrue(allows("example.com", "example.com", 443))
  assert.isTrue(allows("example.com", "EXAMPLE.com.", 80))
  assert.isFalse(allows("example.com", "example.com", 22))
  assert.isTrue(allows("example.com:22", "example.com", 22))
  assert.isFalse(allows("example.com:22", "example.com", 443))
  assert.isFalse(allows("example.com", "www.example.com", 443))
  assert.isFalse(allows("example.com", "example.com.evil.org", 443))
})

it("a star stands for everything below a name, and not for what ends like it", () => {
  assert.isTrue(allows("*.example.com", "a.b.example.com", 443))
  assert.isFalse(allows("*.example.com", "example.com", 443))
  assert.isFalse(allows("*.example.com", "evilexample.com", 443))
})

it("a tunnel asks for its target", () => {
  assert.deepStrictEqual(egress.parseHead("CONNECT example.com:443 HTTP/1.1\r\nHost: whatever"), {
    _tag: "Tunnel",
    target: { host: "example.com", port: 443 }
  })
  assert.isUndefined(egress.parseHead("CONNECT example.com:99999 HTTP/1.1"))
  assert.isUndefined(egress.parseHead("CONNECT [::1]:443 HTTP/1.1"))
})

it("a plain request is forwarded to the host in its address, whatever its fields say", () => {
  const request = egress.parseHead(
    "GET http://example.com:8080/a?b HTTP/1.1\r\nHost: other.org\r\nProxy-Connection: keep-alive\r\nAccept: */*"
  )
  assert.deepStrictEqual(request, {
    _tag: "Forward",
    target: { host: "example.com", port: 8080 },
    head: "GET /a?b HTTP/1.1\r\nHost: example.com:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n"
  })
})

it("what is no request to a proxy is none", () => {
  for (const head of [
    "",
    "GET / HTTP/1.1",
    "GET https://example.com/ HTTP/1.1",
    "\x16\x03\x01",
    "GET http://a b/ HTTP/1.1"
  ]) {
    assert.isUndefined(egress.parseHead(head), head)
  }
})
