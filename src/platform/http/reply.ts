/** The little of Fastify's reply that a controller may touch. */
export type Reply = { status(code: number): unknown; header(name: string, value: string): unknown };

/** 201 for what was made now, 200 for what a repeated request finds. */
export function statusOf<View extends { readonly replayed: boolean }>(reply: Reply, view: View): View {
  reply.status(view.replayed ? 200 : 201);
  return view;
}
