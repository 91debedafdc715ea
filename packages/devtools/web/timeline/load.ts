/** Gets the data out of the page: base64, deflated, columns. Step by step, so that the page stays responsive. */
import { decode, type TimelineData } from "../../src/internal/timelineData.ts"

/** Lets the browser draw and take input. */
export const pause = (): Promise<void> =>
  new Promise((resume) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => resume()
    port2.postMessage(undefined)
  })

/** How long the page may be busy at once. */
const slice = 30

/** Runs something that can be stopped, in slices. */
export const inSlices = async <A>(steps: Generator<void, A>): Promise<A> => {
  let until = performance.now() + slice
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
    if (performance.now() < until) continue
    await pause()
    until = performance.now() + slice
  }
}

/** Characters that are decoded at once; a multiple of four. */
const piece = 1 << 20

export const load = async (element: Element): Promise<TimelineData> => {
  const text = (element.firstChild as Text | null)?.data ?? ""
  element.remove()
  const inflated = new DecompressionStream("deflate-raw")
  const writing = (async () => {
    const writer = inflated.writable.getWriter()
    for (let at = 0; at < text.length; at += piece) {
      await writer.write(bytesOf(text.slice(at, at + piece)))
      await pause()
    }
    await writer.close()
  })()
  const [buffer] = await Promise.all([new Response(inflated.readable).arrayBuffer(), writing])
  return inSlices(decode(new Uint8Array(buffer)))
}

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> => {
  const binary = atob(base64)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
