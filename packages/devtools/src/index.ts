/** Seeing what happens in environments: what was recorded, what it says, and pages to look at. */
export * as EnvironmentGauges from "./EnvironmentGauges.ts"
export * as PrometheusEndpoint from "./PrometheusEndpoint.ts"
