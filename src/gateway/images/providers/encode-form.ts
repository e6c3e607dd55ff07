/** Encodes a form as bytes, with the boundary that its content type names. */
export async function encodeForm(
  form: FormData,
): Promise<{ readonly contentType: string; readonly body: Buffer }> {
  const encoded = new Response(form);
  return {
    contentType: encoded.headers.get('content-type') ?? 'multipart/form-data',
    body: Buffer.from(await encoded.arrayBuffer()),
  };
}
