/** Seeing what happens in environments: what was recorded, what it says, and pages to look at. */
export * as Analysis from "./Analysis.ts"
export * as EventFilter from "./EventFilter.ts"
export * as EventJournal from "./EventJournal.ts"
export * as Journal from "./Journal.ts"
export * from "./JournalError.ts"
export * as JournalWriter from "./JournalWriter.ts"
export * as Report from "./Report.ts"
export * as SqliteJournal from "./SqliteJournal.ts"
