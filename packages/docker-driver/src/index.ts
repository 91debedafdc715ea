/**
 * Containers as sandboxes, and the client for container engines that this stands on.
 *
 * Errors are exported by name; everything that is a module of functions or types, as a namespace.
 */
export * as ContainerOptions from "./ContainerOptions.ts"
export * as DockerAuth from "./DockerAuth.ts"
export * as DockerClient from "./DockerClient.ts"
export * as DockerConnection from "./DockerConnection.ts"
export * as DockerDriver from "./DockerDriver.ts"
export * from "./DockerError.ts"
export * as DockerImage from "./DockerImage.ts"
export * as DockerModel from "./DockerModel.ts"
export * as DockerStream from "./DockerStream.ts"
export * from "./DockerSandbox.ts"
