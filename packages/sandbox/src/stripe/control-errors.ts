/** A control names an object that is not there. */
export class UnknownObjectError extends Error {
  constructor(id: string) {
    super(`the sandbox has no object ${id}`);
    this.name = 'UnknownObjectError';
  }
}

/** A control asks for what cannot happen: a misspelt status, a step that no dispute takes. */
export class ControlRefusedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ControlRefusedError';
  }
}
