/** Seeing what happens in environments: what was recorded, what it says, and pages to look at. */
export * as EnvironmentGauges from "./EnvironmentGauges.ts"
export * as EventFilter from "./EventFilter.ts"
export * as EventJournal from "./EventJournal.ts"
export * as Journal from "./Journal.ts"
export * from "./JournalError.ts"
export * as JournalWriter from "./JournalWriter.ts"
export * as PrometheusEndpoint from "./PrometheusEndpoint.ts"
export * as SqliteJournal from "./SqliteJournal.ts"
