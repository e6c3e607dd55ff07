/**
 * Ends a lateral subquery that looks one row up by its key, and keeps the planner from turning it into a join. A
 * plan is made once a connection, and one that was made while the table was almost empty would read all of it,
 * for every batch, however large the table has become: a full scan and a hash join are cheapest then. A fence
 * leaves only the look-up by index, which is right at any size.
 */
export const ROW_BY_ROW = 'OFFSET 0';
