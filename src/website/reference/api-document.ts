/** The parts of an OpenAPI 3.1 document that the reference uses. */
export type ApiDocument = {
  readonly info: { readonly title: string; readonly description?: string };
  readonly tags?: readonly { readonly name: string; readonly description?: string }[];
  readonly paths: Readonly<Record<string, Readonly<Partial<Record<Method, ApiOperation>>>>>;
  readonly components?: {
    readonly schemas?: Readonly<Record<string, ApiSchema>>;
    readonly responses?: Readonly<Record<string, ApiResponse>>;
  };
};

export const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;
export type Method = (typeof METHODS)[number];

export type ApiOperation = {
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters?: readonly ApiParameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, ApiMedia>> };
  readonly responses: Readonly<Record<string, ApiResponse>>;
};

export type ApiParameter = {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly description?: string;
  readonly schema?: ApiSchema;
};

export type ApiMedia = {
  readonly schema?: ApiSchema;
  readonly examples?: Readonly<Record<string, { readonly summary?: string }>>;
};

export type ApiResponse = {
  readonly $ref?: string;
  readonly description?: string;
  readonly content?: Readonly<Record<string, ApiMedia>>;
};

export type ApiSchema = {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly format?: string;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly example?: unknown;
  readonly description?: string;
  readonly items?: ApiSchema;
  readonly properties?: Readonly<Record<string, ApiSchema>>;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly allOf?: readonly ApiSchema[];
  readonly anyOf?: readonly ApiSchema[];
};

/** One operation with its method and path. */
export type PlacedOperation = {
  readonly method: Method;
  readonly path: string;
  readonly operation: ApiOperation;
};

/** Returns every operation, with references to responses resolved. */
export function toOperations({ paths, components = {} }: ApiDocument): PlacedOperation[] {
  const written = (response: ApiResponse): ApiResponse =>
    components.responses?.[response.$ref?.split('/').at(-1) ?? ''] ?? response;
  return Object.entries(paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      if (operation === undefined) return [];
      const responses: Record<string, ApiResponse> = {};
      for (const [status, each] of Object.entries(operation.responses)) responses[status] = written(each);
      return [{ method, path, operation: { ...operation, responses } }];
    }),
  );
}
