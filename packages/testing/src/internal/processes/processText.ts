/**
 * Text of processes: UTF-8 that loses nothing. A byte that is not UTF-8 becomes a lone low surrogate (U+DC80 to U+DCFF),
 * which no UTF-8 decodes to, and becomes that byte again.
 */
declare const TextDecoder: new (
  label: "utf-8",
  options: { readonly ignoreBOM: boolean; readonly fatal?: boolean }
) => { readonly decode: (bytes: Uint8Array) => string }
declare const TextEncoder: new () => { readonly encode: (text: string) => Uint8Array }

const replacement = "\u{FFFD}"
const escaped = 0xdc00
const loneEscape = /(?<![\uD800-\uDBFF])[\uDC80-\uDCFF]/

export const decode = (bytes: Uint8Array): string => {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)
  return text.includes(replacement) ? decodeSlowly(bytes) : text
}

export const encode = (text: string): Uint8Array => {
  if (!loneEscape.test(text)) return new TextEncoder().encode(text)
  const parts: Array<Uint8Array> = []
  for (const part of text.split(/((?<![\uD800-\uDBFF])[\uDC80-\uDCFF])/)) {
    parts.push(
      part.length === 1 && loneEscape.test(part)
        ? Uint8Array.of(part.charCodeAt(0) - escaped)
        : new TextEncoder().encode(part)
    )
  }
  return concat(parts)
}

/** How many bytes a text has. */
export const byteLength = (text: string): number => encode(text).length

export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const [first] = parts
  if (parts.length === 1 && first !== undefined) return first
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let offset = 0
  for (const part of parts) {
    all.set(part, offset)
    offset += part.length
  }
  return all
}

/** How long the character that starts with a byte is, by that byte alone; 0 when none starts so. */
const lengthByFirst = (byte: number): number => {
  if (byte < 0x80) return 1
  if (byte >= 0xc2 && byte <= 0xdf) return 2
  if (byte >= 0xe0 && byte <= 0xef) return 3
  return byte >= 0xf0 && byte <= 0xf4 ? 4 : 0
}

const decodeSlowly = (bytes: Uint8Array): string => {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
  let text = ""
  for (let i = 0; i < bytes.length;) {
    const byte = bytes[i] ?? 0
    const length = lengthByFirst(byte)
    const character = length === 0 ? replacement : decoder.decode(bytes.subarray(i, i + length))
    // U+FFFD itself is EF BF BD, and valid.
    const valid = !character.includes(replacement) || (byte === 0xef && bytes[i + 1] === 0xbf && bytes[i + 2] === 0xbd)
    text += valid ? character : String.fromCharCode(escaped + byte)
    i += valid ? length : 1
  }
  return text
}
