-- Who may do what, of which any login may ask.
--
--   $1  the mapped roles
--   $2  the application's login; so are names that begin with it and an underscore
--   $3  the owner
--
-- A row is a privilege, or, without an object, what no role of the service should have: an
-- attribute, or a membership that roles.sql does not make. Without a role, it is a table from which
-- protect() has been taken away.

WITH role AS (
    SELECT
        oid,
        rolname,
        rolsuper,
        rolname = ANY($1::text[]) AS mapped,
        rolname IN ($2, session_user) OR starts_with(rolname, $2 || '_') AS login,
        rolname = $3 AS owner,
        -- They may do everything anyway.
        rolsuper OR rolname = 'pg_database_owner' OR oid = (
            SELECT datdba FROM pg_database WHERE datname = current_database()
        ) AS almighty
    FROM pg_roles
),

schema AS (
    SELECT * FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
),

-- Where an object has no list, the default holds:
-- https://www.postgresql.org/docs/current/ddl-priv.html
object AS (
    SELECT relnamespace AS schema, relname::text AS name, NULL::text AS part, acl
    FROM pg_class, coalesce(relacl, acldefault(
        CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner
    )) AS acl
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT relnamespace, relname, attname, attacl
    FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
    WHERE attacl IS NOT NULL AND NOT attisdropped
    UNION ALL
    -- A function counts if it runs with its owner's rights, or if everybody may run it.
    SELECT pronamespace, proname || '(' || oidvectortypes(proargtypes) || ')', NULL, acl
    FROM pg_proc AS p, coalesce(proacl, acldefault('f', proowner)) AS acl
    WHERE (prosecdef OR EXISTS (SELECT FROM aclexplode(acl) WHERE grantee = 0))
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e'
    )
),

-- CONNECT, and USAGE of a schema, open nothing by themselves; nor do one's own claims, which
-- come with the first table.
granted AS (
    SELECT CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || name AS name, part, a.*
    FROM object JOIN schema ON schema.oid = schema, aclexplode(acl) AS a
    WHERE (nspname, name) <> ('identity', 'claims()')
    UNION ALL
    SELECT 'schema ' || nspname, NULL, a.*
    FROM schema, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS a
    WHERE a.privilege_type <> 'USAGE'
    UNION ALL
    SELECT 'database', NULL, a.*
    FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS a
    WHERE datname = current_database() AND a.privilege_type <> 'CONNECT'
),

-- Of the service's roles it counts what they have by way of others, too.
receiver AS (
    SELECT oid, rolname, mapped OR login AS own FROM role
    WHERE NOT owner AND NOT rolsuper AND (mapped OR login OR NOT almighty)
    UNION ALL
    SELECT 0, 'PUBLIC', false
)

SELECT
    name AS object,
    rolname AS role,
    privilege_type || option || coalesce(
        ' (' || string_agg(DISTINCT part, ', ' ORDER BY part) || ')', ''
    ) AS privilege,
    NULL AS other
FROM granted
JOIN receiver ON grantee = oid OR own AND grantee <> 0 AND pg_has_role(oid, grantee, 'USAGE')
JOIN (VALUES ('', false), (' WITH GRANT OPTION', true)) AS o (option, special)
    ON is_grantable OR NOT special
GROUP BY name, rolname, privilege_type, option, part IS NULL
UNION ALL
SELECT NULL, member.rolname, NULL, other.rolname
FROM pg_auth_members AS m
JOIN role AS member ON member.oid = m.member
JOIN role AS other ON other.oid = m.roleid
WHERE (other.mapped OR other.login OR other.owner OR member.mapped OR member.login OR member.owner)
AND NOT member.almighty
AND (m.admin_option OR NOT (
    member.login AND (
        other.mapped
        -- By which Cloud SQL and RDS know a login that comes with a token; no privileges.
        OR other.rolname IN ('cloudsqliamserviceaccount', 'rds_iam')
    )
    OR member.owner AND other.login
))
UNION ALL
SELECT NULL, rolname, attribute, NULL
FROM role JOIN pg_roles AS r USING (oid, rolname), LATERAL (
    VALUES
    ('SUPERUSER', r.rolsuper),
    ('BYPASSRLS', rolbypassrls),
    ('CREATEROLE', rolcreaterole),
    ('CREATEDB', rolcreatedb),
    ('REPLICATION', rolreplication),
    ('LOGIN', rolcanlogin AND NOT login)
) AS a (attribute, present)
WHERE (mapped OR login OR owner) AND present
UNION ALL
SELECT nspname || '.' || relname, NULL, NULL, NULL
FROM pg_class AS c JOIN schema ON schema.oid = relnamespace
WHERE relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)
AND nspname <> 'identity' AND (nspname, relname) <> ('public', 'alembic_version')
AND EXISTS (SELECT FROM role WHERE mapped AND has_any_column_privilege(
    role.oid, c.oid, 'SELECT, INSERT, UPDATE'
))
AND NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'
)
