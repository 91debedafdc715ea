/**
 * Simulate sandboxes, inject faults, property-test lifecycles, and certify drivers.
 *
 * Services and errors are exported by name; everything that is a module of functions or types, as a namespace.
 */
export * as DriverConformance from "./DriverConformance.ts"
export * as EventExpect from "./EventExpect.ts"
export * as FaultPlan from "./FaultPlan.ts"
export * from "./Faults.ts"
export * as FeatureProbe from "./FeatureProbe.ts"
export * as HeldSession from "./HeldSession.ts"
export * as Interruption from "./Interruption.ts"
export * as Latency from "./Latency.ts"
export * as LeakCheck from "./LeakCheck.ts"
export * as Ledger from "./Ledger.ts"
export * as Lifecycle from "./Lifecycle.ts"
export * from "./SimDriver.ts"
export * as SimProgram from "./SimProgram.ts"
export * as TestEnvironment from "./TestEnvironment.ts"
export * as Turns from "./Turns.ts"
export * as VirtualFileSystem from "./VirtualFileSystem.ts"
