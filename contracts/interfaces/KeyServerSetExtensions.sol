// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What operators need beside the set's original interface. Nodes work without it.
interface KeyServerSetExtensions {
    event InitializationCompleted();
    event MigrationCancelled(bytes32 id);
    event KeyServerAddressChanged(address keyServer);

    function isInitialized() external view returns (bool);

    /// Ends the running migration `id`; the current set stays as it is.
    function cancelMigration(bytes32 id) external;

    /// Gives a member of any set another network address, in all sets at once.
    function updateKeyServerAddress(address keyServer, string calldata keyServerIp) external;
}
