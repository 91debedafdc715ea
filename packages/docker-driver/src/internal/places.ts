/** Where things are inside a container. */

const base = "/.effect-sandbox"

/** The volume with the agent, read-only. */
export const agentDirectory = `${base}/bin`
export const agent = `${agentDirectory}/agent`

/** Where the agent finds the socket that it may have been offered: a directory of the host's, read-only and soon empty. */
export const socketDirectory = `${base}/host`

/** What lasts as long as the sandbox; sessions can only read it. */
export const home = `${base}/home`

/** Where an image that was made by a snapshot keeps what was in the writable places. */
export const snapshot = `${base}/snapshot`

/** Writable unless said otherwise, besides the workspace and the image's volumes. */
export const defaultWritable: ReadonlyArray<string> = ["/tmp", "/var/tmp", "/run"]

/** Writable places that the engine makes in every container. */
export const engineWritable: ReadonlyArray<string> = ["/dev/shm", "/dev/mqueue"]
