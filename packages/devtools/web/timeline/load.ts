/** Gets the data out of the page: base64, deflated, columns. Step by step, so that the page stays responsive. */
import { decode, type TimelineData } from "../../src/internal/timelineData.ts"

/** Lets the browser draw and take input. */
const pause = (): Promise<void> =>
  new Promise((resume) => {
    const { port1, port2 } = new MessageChannel()
    port1.addEventListener("message", () => resume(), { once: true })
    port1.start()
    port2.postMessage(undefined)
  })

/** How long the page may be busy at once, in milliseconds. */
const slice = 30

/** Runs something that can be stopped, in slices. */
export const inSlices = async <A>(steps: Generator<void, A>): Promise<A> => {
  const until = performance.now() + slice
  do {
    const step = steps.next()
    if (step.done === true) return step.value
  } while (performance.now() < until)
  await pause()
  return inSlices(steps)
}

/** Characters that are decoded at once; a multiple of four. */
const piece = 1 << 20

export const load = async (element: Element): Promise<TimelineData> => {
  const text = (element.firstChild as Text | null)?.data ?? "" // the element holds nothing but text
  element.remove()
  let at = 0
  const bytes = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: async (controller) => {
      await pause()
      controller.enqueue(bytesOf(text.slice(at, at + piece)))
      at += piece
      if (at >= text.length) controller.close()
    }
  })
  const inflated = bytes.pipeThrough(new DecompressionStream("deflate-raw"))
  return inSlices(decode(new Uint8Array(await new Response(inflated).arrayBuffer())))
}

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> => {
  const binary = atob(base64)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
