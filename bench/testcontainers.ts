/** What a popular library does for one command in a container of its own: the baseline of a warm session. */
import { GenericContainer } from "testcontainers"

// Its own sweeper is an image that would have to be pulled, and finding the host can take a container as well.
process.env["TESTCONTAINERS_RYUK_DISABLED"] ??= "true"
process.env["TESTCONTAINERS_HOST_OVERRIDE"] ??= "localhost"

/** Start, one command, stop; without a network, which would take longer. */
export const cycle = async (image: string, command: ReadonlyArray<string>): Promise<void> => {
  const container = await new GenericContainer(image)
    .withCommand(["sleep", "1000"])
    .withNetworkMode("none")
    .withLabels({ "effect-sandbox.bench": "testcontainers" })
    .start()
  try {
    const { exitCode } = await container.exec([...command])
    if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}`)
  } finally {
    await container.stop()
  }
}
