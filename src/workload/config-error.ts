/** Where something stands in a file. Lines and columns count from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** A fault in what the user gave us. Printed as `file:line:column: message`; the exit code is 2. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly place: Place | undefined;

  constructor(message: string, place?: Place) {
    super(place ? `${place.file}:${place.line}:${place.column}: ${message}` : message);
    this.place = place;
  }
}
