/** UTF-8, which every runtime has as globals and no TypeScript library but DOM declares. */
declare const TextDecoder: new () => { readonly decode: (bytes: Uint8Array) => string }
declare const TextEncoder: new () => { readonly encode: (text: string) => Uint8Array }

/** Decodes bytes; what is not UTF-8 becomes U+FFFD. */
export const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
