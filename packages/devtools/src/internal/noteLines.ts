/** Lines of JSON from notes. Also runs in a thread that has nothing else to load, so nothing is imported here. */

/** Events as numbers, and the texts that those refer to. */
export interface Notes {
  /** How many events these are. */
  readonly count: number
  /** For each event its kind and what that has, see `kinds`. */
  readonly numbers: Float64Array<ArrayBuffer>
  readonly texts: ReadonlyArray<string>
}

/**
 * What stands in the numbers after the kind: indices of the texts of subject and session, the timestamp, and then what
 * is said here. Texts of subjects and sessions are parts of the line, those of names and statuses are JSON.
 */
export const kinds = {
  /** Only the index of the whole line. */
  whole: 0,
  /** Indices of both statuses; the time spent. */
  statusChanged: 1,
  /** How long the caller waited; the duration. */
  sessionStarted: 2,
  /** The lifetime; the duration. */
  sessionEnded: 3,
  /** The duration; the index of the name. */
  activity: 4
}

/** The index of the text that is empty, for a session that there is none of. */
export const noText = 0

/** One line for each event, with its end. */
export const linesOf = ({ numbers, texts }: Notes): string => {
  let lines = ""
  let at = 0
  const number = () => numbers[at++] ?? 0
  const text = () => texts[number()] ?? ""
  while (at < numbers.length) {
    switch (number()) {
      case kinds.whole:
        lines += `${text()}\n`
        break
      case kinds.statusChanged: {
        const begin = `{"_tag":"SandboxStatusChanged"${text()}${text()},"timestamp":${number()}`
        lines += `${begin},"from":${text()},"to":${text()},"spentMillis":${number()}}\n`
        break
      }
      case kinds.sessionStarted: {
        const begin = `{"_tag":"SessionStarted"${text()}${text()},"timestamp":${number()}`
        lines += `${begin},"waitedMillis":${number()},"durationMillis":${number()}}\n`
        break
      }
      case kinds.sessionEnded: {
        const begin = `{"_tag":"SessionEnded"${text()}${text()},"timestamp":${number()}`
        lines += `${begin},"lifetimeMillis":${number()},"durationMillis":${number()}}\n`
        break
      }
      case kinds.activity: {
        const begin = `{"_tag":"SandboxActivity"${text()}${text()},"timestamp":${number()}`
        lines += `${begin},"durationMillis":${number()},"name":${text()}}\n`
        break
      }
    }
  }
  return lines
}
