import { declareAccess } from './route-access.js';

/** Anybody may call this route (or every route of this controller), with any key or none. */
export function Public(): MethodDecorator & ClassDecorator {
  return declareAccess({ public: true });
}
