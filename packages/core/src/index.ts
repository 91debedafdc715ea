/**
 * Pools of sandboxes, sessions and features for Effect programs.
 *
 * Services and errors are exported by name; everything that is a module of functions or types, as a namespace.
 */
export * as Command from "./Command.ts"
export * as CommandPipeline from "./CommandPipeline.ts"
export * as Environment from "./Environment.ts"
export * as EnvironmentConfig from "./EnvironmentConfig.ts"
export * as EnvironmentControl from "./EnvironmentControl.ts"
export * as EventHandler from "./EventHandler.ts"
export * as EventLogger from "./EventLogger.ts"
export * as EventMetrics from "./EventMetrics.ts"
export * from "./EventRecorder.ts"
export * as Feature from "./Feature.ts"
export * from "./Id.ts"
export * as LoadBalancer from "./LoadBalancer.ts"
export * as LocalDriver from "./LocalDriver.ts"
export * as Options from "./Options.ts"
export * from "./Sandbox.ts"
export * from "./SandboxDriver.ts"
export * from "./SandboxError.ts"
export * as SandboxEvent from "./SandboxEvent.ts"
export * as SandboxStatus from "./SandboxStatus.ts"
export * from "./Session.ts"
