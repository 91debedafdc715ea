/** Reads what a timeline's page carries, as the page does. */
import { inflateRawSync } from "node:zlib"
import * as Data from "../../src/internal/timelineData.ts"

export const readTimeline = (html: string): Data.TimelineData => {
  const base64 = /<script type="application\/octet-stream" id="data">([^<]*)<\/script>/.exec(html)?.[1]
  if (base64 === undefined) throw new Error("no data in the page")
  return decodeAll(inflateRawSync(Buffer.from(base64, "base64")))
}

/** Decodes at once. */
export const decodeAll = (bytes: Uint8Array): Data.TimelineData => {
  const steps = Data.decode(bytes)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}
